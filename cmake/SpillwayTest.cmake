# How tests are made and found: one binary per folder, one CTest case per GoogleTest test.
find_package(GTest REQUIRED)
find_package(rapidcheck CONFIG REQUIRED)
include(GoogleTest)

# All test binaries, and those whose tests run several threads (what ThreadSanitizer is for).
add_custom_target(spillway_tests)
add_custom_target(spillway_threaded_tests)

# Sanitized code is several times slower; nothing of ours is near these limits.
if(SPILLWAY_SANITIZE)
  set(SPILLWAY_TEST_TIMEOUT 900)
else()
  set(SPILLWAY_TEST_TIMEOUT 300)
endif()

# spillway_discover(TARGET LABEL): a CTest case for each test of TARGET; what GoogleTest skips,
# CTest skips. Suites whose name ends in SystemTest change the machine (loop devices, sysctls,
# limits) and run with no other test. One label only: CMake 3.25 cannot hand on a list.
function(spillway_discover target label)
  set(common TIMEOUT ${SPILLWAY_TEST_TIMEOUT} LABELS ${label})
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120 NO_PRETTY_VALUES
    TEST_FILTER "-*SystemTest.*:*SystemTest/*"
    PROPERTIES ${common})
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120 NO_PRETTY_VALUES
    TEST_FILTER "*SystemTest.*:*SystemTest/*"
    PROPERTIES ${common} RUN_SERIAL TRUE)
endfunction()

# spillway_test(NAME [THREADED] [ROOMS ...] [LIBS ...] [SOURCES ...]): all of NAME/*.cpp of the
# current folder as spillway_NAME_test, linked with just those rooms, so that a room's tests build
# without the rest of the house. The label of its cases is NAME, or NAME-threaded.
function(spillway_test name)
  cmake_parse_arguments(arg "THREADED" "" "ROOMS;LIBS;SOURCES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  list(APPEND sources ${arg_SOURCES})
  if(NOT sources)
    return()
  endif()
  set(target spillway_${name}_test)
  add_executable(${target} ${sources})
  foreach(room IN LISTS arg_ROOMS)
    if(TARGET spillway_${room})
      target_sources(${target} PRIVATE $<TARGET_OBJECTS:spillway_${room}>)
    endif()
  endforeach()
  if(TARGET spillway_test_support)
    target_link_libraries(${target} PRIVATE spillway_test_support)
  endif()
  target_link_libraries(${target} PRIVATE spillway_build GTest::gtest GTest::gmock
    GTest::gtest_main rapidcheck fmt::fmt spdlog::spdlog nlohmann_json::nlohmann_json Boost::headers
    LibUring::LibUring XXHash::XXHash Threads::Threads ${CMAKE_DL_LIBS} ${arg_LIBS})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  if(SPILLWAY_SANITIZE)  # expectations are long once they are instrumented: a third of the time
    target_compile_options(${target} PRIVATE -Og)
  endif()
  target_compile_definitions(${target} PRIVATE SPILLWAY_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  set(label ${name})
  add_dependencies(spillway_tests ${target})
  if(arg_THREADED)
    set(label ${name}-threaded)
    add_dependencies(spillway_threaded_tests ${target})
  endif()
  spillway_discover(${target} ${label})
endfunction()
