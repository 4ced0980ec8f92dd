# liburing has no CMake config of its own. Defines LibUring::LibUring.
find_path(LibUring_INCLUDE_DIR liburing.h)
find_library(LibUring_LIBRARY uring)
mark_as_advanced(LibUring_INCLUDE_DIR LibUring_LIBRARY)

# Its headers tell their version from 2.4 on; 2.3 is known by a call that it added.
unset(LibUring_VERSION)
if(LibUring_INCLUDE_DIR AND EXISTS "${LibUring_INCLUDE_DIR}/liburing/io_uring_version.h")
  file(STRINGS "${LibUring_INCLUDE_DIR}/liburing/io_uring_version.h" LibUring_lines
       REGEX "#define IO_URING_VERSION_(MAJOR|MINOR) ")
  string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*" "\\1.\\2" LibUring_VERSION
         "${LibUring_lines}")
elseif(LibUring_INCLUDE_DIR)
  file(STRINGS "${LibUring_INCLUDE_DIR}/liburing.h" LibUring_lines REGEX "io_uring_get_events")
  if(LibUring_lines)
    set(LibUring_VERSION 2.3)
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibUring
  REQUIRED_VARS LibUring_LIBRARY LibUring_INCLUDE_DIR
  VERSION_VAR LibUring_VERSION
  REASON_FAILURE_MESSAGE "on Debian: apt-get install liburing-dev")

if(LibUring_FOUND AND NOT TARGET LibUring::LibUring)
  add_library(LibUring::LibUring UNKNOWN IMPORTED)
  set_target_properties(LibUring::LibUring PROPERTIES
    IMPORTED_LOCATION "${LibUring_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${LibUring_INCLUDE_DIR}")
endif()
