#pragma once

#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "sys/cuda_driver.h"

namespace spillway {

/// A driver without a GPU. One thread at a time.
class FakeCudaDriver : public sys::CudaDriver {
 public:
  bool current = true;
  int result = 0;  ///< of register_host
  std::int64_t registered_bytes = 0;
  int registrations = 0;

  bool context_current() override { return current; }
  int register_host(std::byte* at, std::int64_t bytes, std::string& reason) override {
    ++registrations;
    if (result != 0) {
      reason = "CUDA_ERROR_FAKE";
      return result;
    }
    areas_[at] = bytes;
    registered_bytes += bytes;
    return 0;
  }
  void unregister_host(std::byte* at) noexcept override {
    const auto area = areas_.find(at);
    if (area == areas_.end()) std::abort();
    registered_bytes -= area->second;
    areas_.erase(area);
  }
  std::shared_ptr<sys::CudaEvent> record(void* stream, std::string& reason) override {
    if (!current) {
      reason = "no CUDA context is current in this thread";
      return nullptr;
    }
    last_stream = stream;
    struct Event final : sys::CudaEvent {
      bool done() override { return true; }
    };
    return std::make_shared<Event>();
  }
  void* last_stream = nullptr;

 private:
  std::map<std::byte*, std::int64_t> areas_;
};

}  // namespace spillway
