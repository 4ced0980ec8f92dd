# How every target of ours is compiled: warnings, sanitizers, include folders.

# ccache makes the second build of a tree a matter of seconds; used where it is installed.
if(PROJECT_IS_TOP_LEVEL AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(SPILLWAY_CCACHE ccache)
  if(SPILLWAY_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${SPILLWAY_CCACHE})
  endif()
endif()

# Sanitizers go to every target of this tree: an uninstrumented one hides errors of the others.
if(SPILLWAY_SANITIZE)
  add_compile_options(-fsanitize=${SPILLWAY_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${SPILLWAY_SANITIZE})
  if(SPILLWAY_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
  # GCC's flow warnings misfire on the branches that sanitizers add.
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()

# The warnings of our own code. The tool and the examples take only these, so that they see no
# more of the library than a user does.
add_library(spillway_warnings INTERFACE)
target_compile_options(spillway_warnings INTERFACE -Wall -Wextra -Wconversion -Wshadow
  # GCC 12 reports overlapping copies inside std::string's own operator+ (its bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
if(SPILLWAY_WARNINGS_AS_ERRORS)
  target_compile_options(spillway_warnings INTERFACE -Werror)
endif()

# What rooms, tests and benchmarks are built with: the warnings, and the sight of the rooms.
add_library(spillway_build INTERFACE)
target_link_libraries(spillway_build INTERFACE spillway_warnings)
target_include_directories(spillway_build INTERFACE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)

# spillway_room(NAME LIBS...): the objects of src/NAME, which see LIBS; a folder of the house.
function(spillway_room name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_library(spillway_${name} OBJECT ${sources})
  target_link_libraries(spillway_${name} PRIVATE spillway_build fmt::fmt Threads::Threads ${ARGN})
  set_property(GLOBAL APPEND PROPERTY SPILLWAY_ROOMS spillway_${name})
endfunction()
