#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "base/align.h"
#include "io/engine.h"
#include "support/fake_backend.h"
#include "support/page_memory.h"
#include "support/paint.h"
#include "support/temporary_file.h"
#include "sys/file.h"

namespace spillway::io {

/// The back-ends that must keep the same contract.
enum class Kind { ring, ring_poll, threads, fake };

inline std::string name_of(Kind kind) {
  switch (kind) {
    case Kind::ring: return "Ring";
    case Kind::ring_poll: return "RingPoll";
    case Kind::threads: return "Threads";
    case Kind::fake: return "Fake";
  }
  return "?";
}
inline void PrintTo(Kind kind, std::ostream* to) { *to << name_of(kind); }

/// An engine of one kind with one file of `file_bytes`.
class EngineContract : public ::testing::TestWithParam<Kind> {
 protected:
  static constexpr std::int64_t file_bytes = 8 * MiB;

  void SetUp() override {
    if (GetParam() == Kind::ring || GetParam() == Kind::ring_poll) {
      try {
        Engine::open({.engine = EngineChoice::io_uring});
      } catch (const Error& error) {
        GTEST_SKIP() << error.what();
      }
    }
    open({.block_size = 64 * KiB, .queue_depth = 8});
  }

  void open(EngineOptions options) {
    engine.reset();
    switch (GetParam()) {
      case Kind::ring: options.engine = EngineChoice::io_uring; break;
      case Kind::ring_poll:
        options.engine = EngineChoice::io_uring;
        options.poll_wait = true;
        break;
      case Kind::threads: options.engine = EngineChoice::threads; break;
      case Kind::fake: break;
    }
    if (GetParam() == Kind::fake) {
      device = std::make_shared<FakeDevice>(file_bytes);
      engine = std::make_unique<Engine>(std::make_unique<FakeBackend>(device), options);
    } else {
      engine = Engine::open(options);
    }
    fd = temporary_file(file_bytes);
    file = engine->add_file({.fd = fd.get(), .name = "data file"});
  }

  /// What the file holds, behind the engine's back.
  std::vector<std::byte> contents(std::int64_t offset, std::int64_t bytes) {
    std::vector<std::byte> out(static_cast<std::size_t>(bytes));
    if (device) {
      std::memcpy(out.data(), device->memory().data() + offset, out.size());
    } else {
      EXPECT_EQ(sys::read_at(fd.get(), out.data(), bytes, offset), bytes);
    }
    return out;
  }
  void truncate_file(std::int64_t bytes) {
    if (device) {
      device->memory().resize(static_cast<std::size_t>(bytes));
    } else {
      ASSERT_EQ(::ftruncate(fd.get(), bytes), 0);
    }
  }

  void fill(Request& request, Op op, std::int64_t offset, std::byte* data, std::int64_t bytes) {
    request.op = op;
    request.service = op == Op::read ? Service::demand : Service::write;
    request.file = file;
    request.offset = offset;
    request.data = data;
    request.bytes = bytes;
  }
  /// Submits and waits.
  void run(Request& request) {
    engine->submit(request);
    engine->wait(request);
  }

  std::shared_ptr<FakeDevice> device;
  sys::UniqueFd fd;
  std::unique_ptr<Engine> engine;
  FileId file{};
};

}  // namespace spillway::io
