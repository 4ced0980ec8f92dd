# What `cmake --install` puts into a prefix: headers, both libraries, a CMake package and a
# pkg-config file. All of it can be moved afterwards: nothing holds an absolute path.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/spillway)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/spillway TYPE INCLUDE FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# An export of its own for each kind: the shared library is usable without the CMake packages of
# what it was linked with, the static one is not.
foreach(kind IN ITEMS static shared)
  install(TARGETS spillway_${kind} EXPORT spillway-${kind})
  install(EXPORT spillway-${kind} NAMESPACE spillway:: FILE spillway-${kind}.cmake
          DESTINATION ${package_dir})
endforeach()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/spillway-config.cmake.in
  ${PROJECT_BINARY_DIR}/spillway-config.cmake INSTALL_DESTINATION ${package_dir}
  NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/spillway-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/spillway-config.cmake
  ${PROJECT_BINARY_DIR}/spillway-config-version.cmake
  ${PROJECT_SOURCE_DIR}/cmake/FindLibUring.cmake
  ${PROJECT_SOURCE_DIR}/cmake/FindXXHash.cmake
  DESTINATION ${package_dir})

# The way from the pkg-config file back to the prefix, so that the tree can be moved.
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH SPILLWAY_PC_PREFIX /prefix/${pkgconfig_dir} /prefix)
string(REGEX REPLACE "/$" "" SPILLWAY_PC_PREFIX "${SPILLWAY_PC_PREFIX}")
configure_file(${PROJECT_SOURCE_DIR}/cmake/spillway.pc.in ${PROJECT_BINARY_DIR}/spillway.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/spillway.pc DESTINATION ${pkgconfig_dir})
