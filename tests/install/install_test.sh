#!/usr/bin/env bash
# The steps of the install test; each is a CTest case (see CMakeLists.txt beside this file).
#
#   install_test.sh prefix CMAKE BUILD WORK CONFIG       install BUILD into WORK/prefix
#   install_test.sh cmake CMAKE WORK COMPILER KIND       a CMake project, KIND: static or shared
#   install_test.sh pkg-config WORK COMPILER LIBDIR      one compiler call, both kinds
#
# Exit code 77 is a skip, its reason on a line that starts with "SKIPPED: ".
set -euo pipefail

consumer=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/consumer
flags=(-std=c++20 -Wall -Wextra -Wconversion -Werror)

skip() {
  echo "SKIPPED: $*"
  exit 77
}

need() {
  command -v "$1" >/dev/null || skip "$1 is not installed"
}

# Whether the program $1 asks the loader for our shared library must be what $2, the kind, says.
check_kind() {
  local kind=static
  if readelf -d "$1" | grep -q 'NEEDED.*libspillway\.so\.0\.'; then kind=shared; fi
  if [[ $kind != "$2" ]]; then
    echo "$1 was linked with the $kind library; it should be the $2 one" >&2
    exit 1
  fi
}

# A prefix that was moved after the installation must work: nothing in it holds its own path.
install_prefix() {
  local cmake=$1 build=$2 work=$3 config=$4
  rm -rf "$work/prefix" "$work/staging"
  "$cmake" --install "$build" --prefix "$work/staging" --config "$config"
  mv "$work/staging" "$work/prefix"
  if grep -rIl "$work/staging" "$work/prefix"; then
    echo "the files above hold the path they were installed to" >&2
    exit 1
  fi
}

build_with_cmake() {
  local cmake=$1 work=$2 compiler=$3 kind=$4 shared=OFF build
  need "$compiler"
  [[ $kind == shared ]] && shared=ON
  build=$work/$compiler-$kind
  rm -rf "$build"
  # One compiler picks the library by BUILD_SHARED_LIBS, the other by naming the component.
  local choice=("-DBUILD_SHARED_LIBS=$shared")
  [[ $compiler == clang++ ]] && choice=("-DSPILLWAY_COMPONENT=$kind")
  # Both kinds come with the same headers: checked once for each compiler.
  [[ $kind == static ]] && choice+=(-DCHECK_HEADERS=ON)
  "$cmake" -S "$consumer" -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
    -DCMAKE_PREFIX_PATH="$work/prefix" "${choice[@]}"
  "$cmake" --build "$build"
  check_kind "$build/consumer" "$kind"
  cd "$build" && ./consumer
}

build_with_pkg_config() {
  local work=$1 compiler=$2 libdir=$3 build=$1/pkg-config
  need pkg-config
  need "$compiler"
  export PKG_CONFIG_PATH=$work/prefix/$libdir/pkgconfig
  rm -rf "$build" && mkdir -p "$build" && cd "$build"
  local cflags libs all_libs
  read -ra cflags <<<"$(pkg-config --cflags spillway)"
  read -ra libs <<<"$(pkg-config --libs spillway)"
  read -ra all_libs <<<"$(pkg-config --static --libs spillway)"

  "$compiler" "${flags[@]}" "${cflags[@]}" -c "$consumer/main.cpp" -o main.o
  "$compiler" main.o "${libs[@]}" -o shared
  check_kind "$build/shared" shared
  LD_LIBRARY_PATH=$work/prefix/$libdir ./shared

  "$compiler" main.o "${all_libs[@]/#-lspillway/-l:libspillway.a}" -o static
  check_kind "$build/static" static
  ./static
}

step=$1
shift
case $step in
  prefix) install_prefix "$@" ;;
  cmake) build_with_cmake "$@" ;;
  pkg-config) build_with_pkg_config "$@" ;;
  *) echo "unknown step: $step" >&2 && exit 2 ;;
esac
