#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/align.h"
#include "io/engine.h"
#include "support/fake_backend.h"
#include "support/page_memory.h"
#include "support/paint.h"

namespace spillway::io {

/// An engine over a fake disk, with requests into one arena as large as the disk.
class FakeEngine {
 public:
  explicit FakeEngine(EngineOptions options = {.block_size = 16 * KiB, .queue_depth = 4},
                      std::int64_t bytes = 4 * MiB)
      : device(std::make_shared<FakeDevice>(bytes)), arena(bytes) {
    std::memset(arena.data(), 0, static_cast<std::size_t>(bytes));
    engine = std::make_unique<Engine>(std::make_unique<FakeBackend>(device), options);
    file = engine->add_file({.fd = 0, .name = "fake file"});
  }

  /// A request that moves the same range of disk and arena.
  std::unique_ptr<Request> request(Op op, Service service, std::int64_t offset,
                                   std::int64_t bytes) {
    auto request = std::make_unique<Request>();
    request->op = op;
    request->service = service;
    request->file = file;
    request->offset = offset;
    request->data = arena.data() + offset;
    request->bytes = bytes;
    return request;
  }
  std::unique_ptr<Request> read(std::int64_t offset, std::int64_t bytes) {
    return request(Op::read, Service::demand, offset, bytes);
  }
  std::unique_ptr<Request> write(std::int64_t offset, std::int64_t bytes) {
    return request(Op::write, Service::write, offset, bytes);
  }
  void run(Request& request) {
    engine->submit(request);
    engine->wait(request);
  }
  bool same(std::int64_t offset, std::int64_t bytes) const {
    return std::memcmp(device->memory().data() + offset, arena.data() + offset,
                       static_cast<std::size_t>(bytes)) == 0;
  }

  std::shared_ptr<FakeDevice> device;
  PageMemory arena;
  std::unique_ptr<Engine> engine;
  FileId file{};
};

/// The error that `work` throws; fails the test when it throws none.
inline Error thrown(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {Errc::unsupported, ""};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace spillway::io
