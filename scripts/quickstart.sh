#!/usr/bin/env bash
# From a fresh Debian 12 machine to a training step whose state lives on this disk: installs what
# is missing, builds Release, runs `spillway demo`. Arguments go to the demo:
#
#   scripts/quickstart.sh --model gpt2-medium --steps 3
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
source scripts/build_env.sh

scripts/deps.sh build
# Only what the demo needs, unless this build folder was made for more.
options=()
if [[ ! -f build/release/CMakeCache.txt ]]; then
  options=(-DSPILLWAY_BUILD_TESTS=OFF -DSPILLWAY_BUILD_BENCH=OFF -DSPILLWAY_BUILD_EXAMPLES=OFF)
fi
quietly "configuring" cmake --preset release "${options[@]}"
if [[ -z $(find tools/spillway -name '*.cpp' -print -quit) ]]; then
  echo "quickstart: tools/spillway holds no sources: this checkout has no command-line tool" >&2
  exit 1
fi
quietly "building, a minute or two" cmake --build build/release -j "$jobs" --target tools/spillway/all

# The demo's files go to a folder under the caller's current one.
cd "$here"
exec "$root/build/release/tools/spillway/spillway" demo "$@"
