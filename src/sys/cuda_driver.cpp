#include "sys/cuda_driver.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include <map>
#include <mutex>

namespace spillway::sys {
namespace {

// The few entries of the driver's C interface (cuda.h) that we call; its types are opaque to us.
using Result = int;
using CudaContext = void*;
constexpr Result success = 0;
constexpr Result not_ready = 600;          // CUDA_ERROR_NOT_READY
constexpr unsigned event_plain = 2;        // CU_EVENT_DISABLE_TIMING
constexpr unsigned register_portable = 1;  // CU_MEMHOSTREGISTER_PORTABLE: pinned for all contexts

struct Calls {
  Result (*context_get_current)(CudaContext*) = nullptr;
  Result (*context_push)(CudaContext) = nullptr;
  Result (*context_pop)(CudaContext*) = nullptr;
  Result (*host_register)(void*, std::size_t, unsigned) = nullptr;
  Result (*host_unregister)(void*) = nullptr;
  Result (*error_name)(Result, const char**) = nullptr;
  Result (*event_create)(void**, unsigned) = nullptr;
  Result (*event_record)(void*, void*) = nullptr;
  Result (*event_query)(void*) = nullptr;
  Result (*event_destroy)(void*) = nullptr;

  bool complete() const {
    return context_get_current && context_push && context_pop && host_register && host_unregister;
  }
  bool has_events() const {
    return complete() && event_create && event_record && event_query && event_destroy;
  }
};

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
}

/// Only a library that the process has loaded already: without that there is no context to find,
/// and loading it ourselves would start the driver in processes that never asked for a GPU.
Calls load() {
  Calls calls;
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  if (library == nullptr) return calls;  // else it is kept for ever: our pointers lead into it
  find(library, "cuCtxGetCurrent", calls.context_get_current);
  find(library, "cuCtxPushCurrent_v2", calls.context_push);
  find(library, "cuCtxPopCurrent_v2", calls.context_pop);
  find(library, "cuMemHostRegister_v2", calls.host_register);
  find(library, "cuMemHostUnregister", calls.host_unregister);
  find(library, "cuGetErrorName", calls.error_name);
  find(library, "cuEventCreate", calls.event_create);
  find(library, "cuEventRecord", calls.event_record);
  find(library, "cuEventQuery", calls.event_query);
  find(library, "cuEventDestroy_v2", calls.event_destroy);
  return calls;
}

// Asked and destroyed in the context that it was recorded in, lent to whichever thread does it.
class Event final : public CudaEvent {
 public:
  Event(const Calls& calls, CudaContext context, void* event)
      : calls_(calls), context_(context), event_(event) {}
  ~Event() override {
    if (calls_.context_push(context_) != success) return;  // the driver has shut down
    calls_.event_destroy(event_);
    CudaContext popped = nullptr;
    calls_.context_pop(&popped);
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  bool done() override {
    if (calls_.context_push(context_) != success) return true;
    const Result result = calls_.event_query(event_);
    CudaContext popped = nullptr;
    calls_.context_pop(&popped);
    return result != not_ready;
  }

 private:
  Calls calls_;
  CudaContext context_;
  void* event_;
};

class Driver final : public CudaDriver {
 public:
  bool context_current() override {
    std::lock_guard lock(mutex_);
    return current() != nullptr;
  }

  int register_host(std::byte* at, std::int64_t bytes, std::string& reason) override {
    std::lock_guard lock(mutex_);
    CudaContext context = current();
    if (context == nullptr) {
      reason = "no CUDA context is current";
      return -1;
    }
    const Result result =
        calls_.host_register(at, static_cast<std::size_t>(bytes), register_portable);
    if (result == success)
      contexts_[at] = context;
    else
      reason = name_of(result);
    return result;
  }

  // The thread that gives a region back need not have the context; it is lent for the call. Once
  // the driver has shut down (exit) both calls fail, and there is nothing left to unregister.
  void unregister_host(std::byte* at) noexcept override {
    std::lock_guard lock(mutex_);
    const auto entry = contexts_.find(at);
    if (entry == contexts_.end()) return;
    if (calls_.context_push(entry->second) == success) {
      calls_.host_unregister(at);
      CudaContext popped = nullptr;
      calls_.context_pop(&popped);
    }
    contexts_.erase(entry);
  }

  std::shared_ptr<CudaEvent> record(void* stream, std::string& reason) override {
    std::lock_guard lock(mutex_);
    CudaContext context = current();
    if (context == nullptr || !calls_.has_events()) {
      reason = context == nullptr ? "no CUDA context is current in this thread"
                                  : "the CUDA driver has no events";
      return nullptr;
    }
    void* event = nullptr;
    Result result = calls_.event_create(&event, event_plain);
    if (result == success) {
      auto owned = std::make_shared<Event>(calls_, context, event);
      result = calls_.event_record(event, stream);
      if (result == success) return owned;
    }
    reason = name_of(result);
    return nullptr;
  }

 private:
  CudaContext current() {
    if (!calls_.complete()) calls_ = load();  // the engine may have loaded it since
    CudaContext context = nullptr;
    if (!calls_.complete() || calls_.context_get_current(&context) != success) return nullptr;
    return context;
  }

  std::string name_of(Result result) const {
    const char* name = nullptr;
    if (calls_.error_name && calls_.error_name(result, &name) == success && name) return name;
    return fmt::format("CUDA error {}", result);
  }

  std::mutex mutex_;
  Calls calls_;
  std::map<std::byte*, CudaContext> contexts_;  // where each region was registered
};

}  // namespace

CudaDriver& cuda_driver() {
  static Driver& driver = *new Driver;
  return driver;
}

}  // namespace spillway::sys
