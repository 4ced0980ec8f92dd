#include "bench/promised_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>
#include <utility>

#include "spillway/error.h"

namespace spillway::tool {
namespace {

[[noreturn]] void throw_unwritten(const std::filesystem::path& file, int error) {
  const Errc code = error == EACCES || error == EROFS || error == EPERM || error == EISDIR
                        ? Errc::permission_denied
                    : error == ENOENT || error == ENOTDIR ? Errc::not_found
                    : error == ENOSPC || error == EDQUOT  ? Errc::no_space
                                                          : Errc::io_error;
  throw Error(code, fmt::format("{} could not be written: {}", file.string(),
                                std::strerror(error == 0 ? EIO : error)));
}

}  // namespace

PromisedFile::PromisedFile(std::filesystem::path file) : file_(std::move(file)) {
  if (file_ == "-") throw Error(Errc::invalid_argument, "-: this goes to a file, give it a name");
  int fd = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  made_ = fd >= 0;
  if (fd < 0 && errno == EEXIST) fd = ::open(file_.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) throw_unwritten(file_, errno);
  ::close(fd);
}

PromisedFile::~PromisedFile() {
  std::error_code ignored;
  if (made_) std::filesystem::remove(file_, ignored);
}

void PromisedFile::write(const std::string& text) {
  write_file(file_, text);
  made_ = false;
}

void write_file(const std::filesystem::path& file, const std::string& text) {
  errno = 0;
  std::ofstream stream(file, std::ios::binary);
  stream << text;
  if (!stream.flush()) throw_unwritten(file, errno);
}

}  // namespace spillway::tool
