# How every target of ours is compiled: warnings, sanitizers, include folders.

add_library(spillway_build INTERFACE)
target_compile_options(spillway_build INTERFACE -Wall -Wextra -Wconversion -Wshadow)
if(SPILLWAY_WARNINGS_AS_ERRORS)
  target_compile_options(spillway_build INTERFACE -Werror)
endif()
if(SPILLWAY_SANITIZE)
  target_compile_options(spillway_build INTERFACE -fsanitize=${SPILLWAY_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(spillway_build INTERFACE -fsanitize=${SPILLWAY_SANITIZE})
  if(SPILLWAY_SANITIZE MATCHES "undefined")
    target_compile_options(spillway_build INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()
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
