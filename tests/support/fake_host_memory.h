#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "base/align.h"
#include "sys/host_memory.h"

namespace spillway {

/// Page tables of a machine that does what the test says. Memory is the heap's, so that a pool over
/// it really works; what was asked for is written down.
///
/// `fail_at` counts calls (those that can fail) from 0: that one, and no other, says `error`.
/// Threads: all members may be called from any thread; the figures are read when it is quiet.
class FakeHostMemory : public sys::HostMemory {
 public:
  int fail_at = -1;
  int error = ENOMEM;
  int hugetlb_pages = 0;    ///< set aside
  double huge_share = 1.0;  ///< of whole huge pages that MADV_HUGEPAGE really gives
  bool huge_known = true;   ///< false: no smaps
  std::int64_t lock_limit = INT64_MAX;

  int calls = 0;
  std::string failed;              ///< name of the call that `fail_at` hit
  std::vector<std::string> steps;  ///< names of the calls, each once in a row
  std::int64_t mapped_bytes = 0;
  std::int64_t locked_bytes = 0;
  std::int64_t populated_bytes = 0;
  int bound_node = -1;

  ~FakeHostMemory() override {
    for (const auto& [at, area] : areas_) release(at);
  }

  int map(std::int64_t bytes, std::int64_t alignment, std::byte*& at) override {
    std::lock_guard lock(mutex_);
    if (const int refused = step("map")) return refused;
    at = make(bytes, alignment);
    return 0;
  }
  int map_hugetlb(std::int64_t bytes, std::byte*& at) override {
    std::lock_guard lock(mutex_);
    if (const int refused = step("map_hugetlb")) return refused;
    if (bytes > hugetlb_pages * huge_page_bytes) return ENOMEM;
    at = make(bytes, huge_page_bytes);
    areas_[at].huge = bytes;
    return 0;
  }
  void unmap(std::byte* at, std::int64_t bytes) noexcept override {
    std::lock_guard lock(mutex_);
    const auto area = areas_.find(at);
    if (area == areas_.end() || area->second.bytes != bytes) std::abort();  // not ours, or a part
    if (area->second.locked) locked_bytes -= bytes;
    mapped_bytes -= bytes;
    areas_.erase(area);
    release(at);
  }

  int advise_huge(std::byte* at, std::int64_t bytes) override {
    std::lock_guard lock(mutex_);
    if (const int refused = step("advise_huge")) return refused;
    const auto whole = static_cast<double>(bytes / huge_page_bytes);
    areas_[at].huge = static_cast<std::int64_t>(whole * huge_share) * huge_page_bytes;
    return 0;
  }
  int advise_small(std::byte*, std::int64_t) override { return advice("advise_small"); }
  int advise_dont_fork(std::byte*, std::int64_t) override { return advice("advise_dont_fork"); }
  int advise_dont_dump(std::byte*, std::int64_t) override { return advice("advise_dont_dump"); }
  int bind_node(std::byte*, std::int64_t, int node) override {
    std::lock_guard lock(mutex_);
    if (const int refused = step("bind_node")) return refused;
    bound_node = node;
    return 0;
  }
  int populate(std::byte*, std::int64_t bytes) override {
    std::lock_guard lock(mutex_);
    if (const int refused = step("populate")) return refused;
    populated_bytes += bytes;
    return 0;
  }
  int lock(std::byte* at, std::int64_t bytes) override {
    std::lock_guard lock(mutex_);
    if (const int refused = step("lock")) return refused;
    if (locked_bytes + bytes > lock_limit) return ENOMEM;
    areas_[at].locked = true;
    locked_bytes += bytes;
    return 0;
  }
  void unlock(std::byte* at, std::int64_t bytes) noexcept override {
    std::lock_guard lock(mutex_);
    if (std::exchange(areas_[at].locked, false)) locked_bytes -= bytes;
  }
  std::int64_t huge_bytes(const std::byte* at, std::int64_t) override {
    std::lock_guard lock(mutex_);
    return huge_known ? areas_[const_cast<std::byte*>(at)].huge : -1;
  }

  bool did(const std::string& name) const {
    return std::find(steps.begin(), steps.end(), name) != steps.end();
  }

 private:
  struct Area {
    std::int64_t bytes = 0, huge = 0;
    bool locked = false;
  };

  int step(const char* name) {
    if (steps.empty() || steps.back() != name) steps.emplace_back(name);
    if (calls++ != fail_at) return 0;
    failed = name;
    return error;
  }
  int advice(const char* name) {
    std::lock_guard lock(mutex_);
    return step(name);
  }
  std::byte* make(std::int64_t bytes, std::int64_t alignment) {
    auto* at = static_cast<std::byte*>(
        ::operator new (static_cast<std::size_t>(bytes),
                        std::align_val_t{static_cast<std::size_t>(huge_page_bytes)}));
    std::memset(at, 0, static_cast<std::size_t>(bytes));
    if (alignment > huge_page_bytes) std::abort();
    areas_[at] = {.bytes = bytes};
    mapped_bytes += bytes;
    return at;
  }
  static void release(std::byte* at) {
    ::operator delete (at, std::align_val_t{static_cast<std::size_t>(huge_page_bytes)});
  }

  std::mutex mutex_;
  std::map<std::byte*, Area> areas_;
};

}  // namespace spillway
