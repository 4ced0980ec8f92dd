#include "base/current_error.h"

#include <exception>
#include <new>
#include <type_traits>

namespace spillway {

static_assert(std::is_nothrow_copy_constructible_v<Error>,
              "an error can be handed on where no memory is left");

Error current_error(const Error& no_memory) noexcept {
  try {
    try {
      throw;
    } catch (const Error& error) {
      return error;
    } catch (const std::bad_alloc&) {
      return no_memory;
    } catch (const std::exception& error) {
      return Error(Errc::out_of_memory, error.what());
    }
  } catch (...) {
    return no_memory;
  }
}

}  // namespace spillway
