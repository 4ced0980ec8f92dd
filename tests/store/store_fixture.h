#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/align.h"
#include "io/engine.h"
#include "store/store.h"
#include "support/page_memory.h"
#include "support/temp_dir.h"

namespace spillway::store {

using Sizes = std::vector<std::int64_t>;

inline std::unique_ptr<io::Engine> open_engine() {
  io::EngineOptions options;
  options.engine = EngineChoice::threads;  // what the store does is the same on either engine
  options.threads = 2;
  return io::Engine::open(options);
}

inline StoreOptions options_for(std::vector<std::filesystem::path> paths) {
  StoreOptions options;
  options.paths = std::move(paths);
  return options;
}

inline SectionId at(SectionId first, std::int64_t index) {
  return SectionId{static_cast<std::uint32_t>(static_cast<std::int64_t>(first) + index)};
}

/// A transfer that can be waited for.
class Mover {
 public:
  explicit Mover(Store& store, int sections = 4) : transfer_(store, sections) {}

  Transfer& transfer() { return transfer_; }
  void submit(io::Service service = io::Service::demand) {
    {
      const std::lock_guard lock(mutex_);
      done_ = false;
    }
    transfer_.submit(service, &Mover::ended, this);
  }
  /// False: it has not ended within 60 s.
  bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [this] { return done_; });
  }

 private:
  static void ended(Transfer& transfer, void* context) {
    Mover& self = *static_cast<Mover*>(context);
    EXPECT_FALSE(transfer.in_flight());
    const std::lock_guard lock(self.mutex_);
    self.done_ = true;
    self.changed_.notify_all();
  }

  Transfer transfer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
};

/// Bytes that tell section and version.
inline void fill(std::byte* to, std::int64_t bytes, std::uint64_t seed) {
  std::uint64_t word = seed * 0x9e3779b97f4a7c15u + 1;
  for (std::int64_t i = 0; i < bytes; ++i) {
    if (i % 8 == 0) word = word * 6364136223846793005u + 1442695040888963407u;
    to[i] = static_cast<std::byte>(word >> (8 * (i % 8)));
  }
}

inline bool holds(const std::byte* data, std::int64_t bytes, std::uint64_t seed) {
  std::vector<std::byte> expected(static_cast<std::size_t>(bytes));
  fill(expected.data(), bytes, seed);
  return std::memcmp(data, expected.data(), static_cast<std::size_t>(bytes)) == 0;
}

/// Writes a version of a section and waits. False with the transfer's error.
inline testing::AssertionResult write(Store& store, SectionId section, std::uint64_t version) {
  PageMemory buffer(store.footprint(section));
  fill(buffer.data(), store.payload_bytes(section), version);
  Mover mover(store, 1);
  mover.transfer().add_write(section, buffer.data(), store.seal(section, buffer.data()));
  mover.submit(io::Service::write);
  if (!mover.wait()) return testing::AssertionFailure() << "never ended";
  if (mover.transfer().ok()) return testing::AssertionSuccess();
  return testing::AssertionFailure() << mover.transfer().error().what();
}

/// Reads a section, verifies it, and compares it with that version.
inline testing::AssertionResult reads(Store& store, SectionId section, std::uint64_t version) {
  PageMemory buffer(store.footprint(section));
  std::memset(buffer.data(), 0x5a, static_cast<std::size_t>(buffer.bytes()));
  Mover mover(store, 1);
  mover.transfer().add_read(section, buffer.data());
  mover.submit();
  if (!mover.wait()) return testing::AssertionFailure() << "never ended";
  if (!mover.transfer().ok()) {
    return testing::AssertionFailure() << mover.transfer().error().what();
  }
  try {
    mover.transfer().verify(section, buffer.data());
  } catch (const Error& error) {
    return testing::AssertionFailure() << error.what();
  }
  if (!holds(buffer.data(), store.payload_bytes(section), version)) {
    return testing::AssertionFailure() << "other bytes than version " << version;
  }
  return testing::AssertionSuccess();
}

/// The code and text of the Error that `work` throws; fails where it throws none.
template <typename Work>
Error error_from(Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(Errc::invalid_argument, "nothing was thrown");
}

}  // namespace spillway::store
