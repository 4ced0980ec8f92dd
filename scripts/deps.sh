#!/usr/bin/env bash
# Installs the Debian 12 packages that are missing. Usage: scripts/deps.sh [build|test|lint]...
#
#   build   what the library and the command-line tool need (the default)
#   test    the same, and what the tests and benchmarks need
#   lint    clang-format and clang-tidy
#   coverage  what adds up the counts of scripts/coverage.sh
#
# As root it installs them; otherwise it prints the command that would, and ends with 1.
set -euo pipefail

build=(g++ cmake ninja-build ccache liburing-dev libboost-dev libspdlog-dev libfmt-dev
  nlohmann-json3-dev libcli11-dev libxxhash-dev)
test=("${build[@]}" clang pkg-config binutils util-linux libgtest-dev libgmock-dev librapidcheck-dev
  libbenchmark-dev libaio-dev python3 libseccomp-dev libfuse3-dev fuse3 e2fsprogs xfsprogs btrfs-progs fio)
lint=("${build[@]}" clang clang-tidy clang-format)
coverage=(gcovr)

wanted=()
for group in "${@:-build}"; do
  case $group in
    build) wanted+=("${build[@]}") ;;
    test) wanted+=("${test[@]}") ;;
    lint) wanted+=("${lint[@]}") ;;
    coverage) wanted+=("${coverage[@]}") ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
  esac
done

if ! command -v apt-get >/dev/null; then
  echo "deps: no apt-get here; the names of these packages on Debian 12 are: ${wanted[*]}" >&2
  exit 0  # they may well be installed in another way; CMake will name what it misses
fi

missing=()
declare -A seen=()
for package in "${wanted[@]}"; do
  [[ -n ${seen[$package]:-} ]] && continue
  seen[$package]=1
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  # A package of one architecture among several prints one status for each.
  [[ $status == installed* ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

if [[ $EUID -ne 0 ]]; then
  echo "deps: these packages are missing; install them, or run this script as root:" >&2
  echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

echo "deps: installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
quietly() {
  "$@" </dev/null >"$log" 2>&1 || { cat "$log" >&2 && echo "deps: failed: $*" >&2 && exit 1; }
}
quietly apt-get update -qq -o DPkg::Lock::Timeout=300
quietly apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 \
  -o DPkg::Lock::Timeout=300 "${missing[@]}"
