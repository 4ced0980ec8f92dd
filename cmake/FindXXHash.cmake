# xxHash as Debian ships it has no CMake config. Defines XXHash::XXHash, and XXHash_HAS_DISPATCH
# where the library chooses the widest registers at run time (x86): some 2.5 times as fast.
find_path(XXHash_INCLUDE_DIR xxhash.h)
find_library(XXHash_LIBRARY xxhash)
mark_as_advanced(XXHash_INCLUDE_DIR XXHash_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(XXHash
  REQUIRED_VARS XXHash_LIBRARY XXHash_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "on Debian: apt-get install libxxhash-dev")

if(XXHash_FOUND AND NOT TARGET XXHash::XXHash)
  add_library(XXHash::XXHash UNKNOWN IMPORTED)
  set_target_properties(XXHash::XXHash PROPERTIES
    IMPORTED_LOCATION "${XXHash_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${XXHash_INCLUDE_DIR}")
endif()

if(XXHash_FOUND)
  include(CheckCXXSourceCompiles)
  include(CMakePushCheckState)
  cmake_push_check_state(RESET)
  set(CMAKE_REQUIRED_LIBRARIES XXHash::XXHash)
  check_cxx_source_compiles("
    #include <xxh_x86dispatch.h>
    int main() { return static_cast<int>(XXH3_64bits_dispatch(nullptr, 0)); }"
    XXHash_HAS_DISPATCH)
  cmake_pop_check_state()
endif()
