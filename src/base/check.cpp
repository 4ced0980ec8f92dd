#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace spillway {

void check_failed(const char* condition, const char* file, int line, const char* what) noexcept {
  std::fprintf(stderr, "spillway: internal check failed: %s (%s) at %s:%d\n", what, condition, file,
               line);
  std::abort();
}

}  // namespace spillway
