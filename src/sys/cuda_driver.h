#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace spillway::sys {

/// libcuda.so.1 by dlopen: no toolkit at build time, no dependency at run time, and never a
/// context of our making. Threads: any.
class CudaDriver {
 public:
  virtual ~CudaDriver() = default;
  /// True when the library is there and the calling thread has a current context.
  virtual bool context_current() = 0;
  /// cuMemHostRegister with PORTABLE; 0 or the driver's error, whose name goes to `reason`.
  virtual int register_host(std::byte* at, std::int64_t bytes, std::string& reason) = 0;
  virtual void unregister_host(std::byte* at) noexcept = 0;
};

CudaDriver& cuda_driver();

}  // namespace spillway::sys
