#!/usr/bin/env bash
# Installs what is missing, builds Release, runs the whole suite. Arguments go to ctest:
#
#   scripts/test.sh -R BufferPool
#
# Ends by listing the skipped tests with their reasons. With CI=true a skip that is not in
# tests/allowed_skips.txt is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/build_env.sh

scripts/deps.sh test
quietly "configuring" cmake --preset release -DSPILLWAY_BUILD_TESTS=ON -DSPILLWAY_BUILD_TOOLS=ON \
  -DSPILLWAY_BUILD_BENCH=ON -DSPILLWAY_BUILD_EXAMPLES=ON -DSPILLWAY_INSTALL=ON
quietly "building" cmake --build build/release -j "$jobs"
scripts/run_ctest.sh release "$@"
