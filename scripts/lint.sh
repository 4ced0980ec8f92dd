#!/usr/bin/env bash
# clang-format over all C++ files, clang-tidy over src/: scripts/lint.sh [FILE...]
# With files: clang-tidy looks at those only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/build_env.sh

scripts/deps.sh lint
status=0

mapfile -d '' files < <(find include src tools tests bench examples \
  \( -name '*.h' -o -name '*.cpp' \) -print0)
clang-format --dry-run --Werror "${files[@]}" || status=1
echo "clang-format: ${#files[@]} files"

# clang-tidy needs to know how each file is compiled; any build folder will do.
build=build/release
if [[ ! -f $build/compile_commands.json ]]; then
  build=build/lint
  quietly "configuring" cmake --preset release -B "$build" -DSPILLWAY_BUILD_TESTS=OFF \
    -DSPILLWAY_BUILD_BENCH=OFF -DSPILLWAY_BUILD_EXAMPLES=OFF -DSPILLWAY_BUILD_TOOLS=OFF
fi
if (($# > 0)); then
  sources=("$@")
else
  mapfile -t sources < <(find src -name '*.cpp' | sort)
fi
# The flags are GCC's: clang need not know all of its warnings.
printf '%s\0' "${sources[@]}" | xargs -0 -n 1 -P "$jobs" clang-tidy -p "$build" --quiet \
  --extra-arg=-Wno-unknown-warning-option 2> >(grep -v 'warnings\? generated\.$' >&2) || status=1
echo "clang-tidy: ${#sources[@]} files"

if ((status != 0)); then echo "lint: failed; clang-format -i mends the layout" >&2; fi
exit $status
