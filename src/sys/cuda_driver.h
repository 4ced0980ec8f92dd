#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace spillway::sys {

/// A point in a stream's work.
class CudaEvent {
 public:
  virtual ~CudaEvent() = default;
  /// Whether all that was queued before it is done. A driver that fails says yes once the stream
  /// cannot do anything any more (a lost context); never waits.
  virtual bool done() = 0;
};

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
  /// An event behind all that is queued on `stream` (a CUstream) now, in the current context. Null
  /// with a reason where that cannot be.
  virtual std::shared_ptr<CudaEvent> record(void* stream, std::string& reason) = 0;
};

CudaDriver& cuda_driver();

}  // namespace spillway::sys
