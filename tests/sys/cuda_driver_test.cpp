// A driver of twenty lines is compiled here and loaded under the real one's name, so that every
// call of ours is made; a machine with a GPU runs the same against NVIDIA's.
#include "sys/cuda_driver.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/align.h"
#include "support/child_process.h"
#include "sys/host_memory.h"

namespace spillway::sys {
namespace {

constexpr const char* driver_source = R"(
static void *current, *registered;
static int depth, result;
void test_set_current(void *context) { current = context; }
void test_set_result(int code) { result = code; }
void *test_registered(void) { return registered; }
int test_depth(void) { return depth; }
int cuCtxGetCurrent(void **context) { *context = current; return 0; }
int cuCtxPushCurrent_v2(void *context) { current = context; ++depth; return 0; }
int cuCtxPopCurrent_v2(void **context) { *context = current; current = 0; --depth; return 0; }
int cuMemHostRegister_v2(void *at, unsigned long bytes, unsigned flags) {
  if (!current || flags != 1 || bytes != 8192) return 201;
  if (result) return result;
  registered = at;
  return 0;
}
int cuMemHostUnregister(void *at) {
  if (!current || at != registered) return 201;
  registered = 0;
  return 0;
}
int cuGetErrorName(int code, const char **name) {
  *name = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : 0;
  return *name ? 0 : 1;
}
)";

/// Compiles and loads the stand-in; null where there is no compiler.
void* load_stand_in() {
  std::string name = std::filesystem::temp_directory_path() / "cuda-test-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) return nullptr;
  const std::filesystem::path directory = name;
  std::ofstream(directory / "driver.c") << driver_source;
  const std::string command = "cc -shared -fPIC -w -Wl,-soname,libcuda.so.1 -o " + name +
                              "/libcuda.so.1 " + name + "/driver.c 2>/dev/null";
  void* library = std::system(command.c_str()) == 0
                      ? ::dlopen((directory / "libcuda.so.1").c_str(), RTLD_NOW | RTLD_GLOBAL)
                      : nullptr;
  std::filesystem::remove_all(directory);
  return library;
}

template <typename Function>
Function* entry(void* library, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(library, name));
}

TEST(CudaDriverTest, WithoutTheLibraryThereIsNoContext) {
  void* const loaded = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (loaded != nullptr) GTEST_SKIP() << "this process has libcuda loaded";
  EXPECT_FALSE(cuda_driver().context_current());
  std::string reason;
  std::byte memory[1];
  EXPECT_NE(cuda_driver().register_host(memory, 1, reason), 0);
  EXPECT_EQ(reason, "no CUDA context is current");
  cuda_driver().unregister_host(memory);  // never registered: nothing happens
  EXPECT_EQ(::dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD), nullptr) << "asking has loaded it";
}

TEST(CudaDriverTest, RegistersInTheCurrentContextAndGivesBackInIt) {
  // In a child, because a loaded driver stays loaded.
  const ChildEnd end = in_child([]() -> std::string {
    void* const library = load_stand_in();
    if (library == nullptr) return "no compiler";
    const auto set_current = entry<void(void*)>(library, "test_set_current");
    const auto set_result = entry<void(int)>(library, "test_set_result");
    const auto registered = entry<void*()>(library, "test_registered");
    const auto depth = entry<int()>(library, "test_depth");
    CudaDriver& driver = cuda_driver();
    std::byte memory[16];
    int context = 0;
    std::string reason;

    if (driver.context_current()) return "a context out of nothing";
    set_current(&context);
    if (!driver.context_current()) return "the current context was not seen";
    set_result(2);
    if (driver.register_host(memory, 8192, reason) != 2) return "the refusal was lost";
    if (reason != "CUDA_ERROR_OUT_OF_MEMORY") return "the refusal has the wrong name: " + reason;
    set_result(77);
    driver.register_host(memory, 8192, reason);
    if (reason != "CUDA error 77") return "an unknown error has the wrong name: " + reason;
    set_result(0);
    if (driver.register_host(memory, 8192, reason) != 0) return "not registered: " + reason;
    if (registered() != memory) return "another address was registered";
    set_current(nullptr);  // as on another thread
    driver.unregister_host(memory);
    if (registered() != nullptr) return "not given back";
    if (depth() != 0) return "a context was left behind";
    return "good";
  });
  if (end.said == "no compiler") GTEST_SKIP() << "no C compiler to build the stand-in driver";
  EXPECT_EQ(end.said, "good");
  EXPECT_TRUE(end.clean());
}

/// NVIDIA's own, on a machine that has a GPU.
TEST(CudaDriverTest, RegistersWithTheRealDriver) {
  const ChildEnd end = in_child([]() -> std::string {
    void* const library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return "no driver";
    const auto init = entry<int(unsigned)>(library, "cuInit");
    const auto retain = entry<int(void**, int)>(library, "cuDevicePrimaryCtxRetain");
    const auto set_current = entry<int(void*)>(library, "cuCtxSetCurrent");
    void* context = nullptr;
    if (init(0) != 0 || retain(&context, 0) != 0) return "no driver";
    CudaDriver& driver = cuda_driver();
    if (driver.context_current()) return "a context that nobody has made current";
    set_current(context);
    if (!driver.context_current()) return "the current context was not seen";
    std::byte* at = nullptr;
    if (host_memory().map(4 * MiB, huge_page_bytes, at) != 0) return "no memory";
    std::string reason;
    if (driver.register_host(at, 4 * MiB, reason) != 0) return "not registered: " + reason;
    if (driver.register_host(at, 4 * MiB, reason) == 0) return "registered twice";
    set_current(nullptr);
    driver.unregister_host(at);
    set_current(context);
    if (driver.register_host(at, 4 * MiB, reason) != 0) return "not given back: " + reason;
    driver.unregister_host(at);
    host_memory().unmap(at, 4 * MiB);
    return "good";
  });
  if (end.said == "no driver") GTEST_SKIP() << "no CUDA driver or GPU";
  EXPECT_EQ(end.said, "good");
}

}  // namespace
}  // namespace spillway::sys
