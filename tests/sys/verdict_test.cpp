#include "sys/verdict.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace spillway::sys {
namespace {

TEST(VerdictTest, EveryErrnoHasOne) {
  EXPECT_EQ(verdict_of(EINTR), Verdict::retry_now);
  for (const int error : {EAGAIN, EBUSY, ENOMEM, ENOBUFS})
    EXPECT_EQ(verdict_of(error), Verdict::retry_later) << error;
  for (const int error : {EFAULT, EBADF}) EXPECT_EQ(verdict_of(error), Verdict::bug) << error;
  for (const int error : {EPERM, ENOSYS, EOPNOTSUPP})
    EXPECT_EQ(verdict_of(error), Verdict::lost) << error;
  for (const int error : {EIO, ENOSPC, EDQUOT, EFBIG, EINVAL, EROFS, ESTALE, ECANCELED, 12345})
    EXPECT_EQ(verdict_of(error), Verdict::report) << error;
}

TEST(VerdictTest, WhatTheWorldLacksIsNamed) {
  for (const int error : {ENOSPC, EDQUOT, EFBIG}) EXPECT_EQ(errc_of(error), Errc::no_space);
  for (const int error : {EACCES, EPERM, EROFS}) EXPECT_EQ(errc_of(error), Errc::permission_denied);
  EXPECT_EQ(errc_of(ENOMEM), Errc::out_of_memory);
  EXPECT_EQ(errc_of(EIO), Errc::io_error);
  EXPECT_EQ(errc_of(ECANCELED), Errc::cancelled);
  EXPECT_NE(advice_for(EFBIG).find("RLIMIT_FSIZE"), std::string_view::npos);
  EXPECT_NE(advice_for(ENOSPC).find("free space"), std::string_view::npos);
  EXPECT_TRUE(advice_for(0).empty());
}

}  // namespace
}  // namespace spillway::sys
