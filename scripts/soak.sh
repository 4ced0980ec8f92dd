#!/usr/bin/env bash
# The long forms of tests that the suite runs short: tensors and states of more than 4 GiB, many
# seeds of the model tests. Arguments: GoogleTest filters, else everything.
#
#   scripts/soak.sh                  # all
#   scripts/soak.sh 'LargeTest.*'    # one
#
# Needs about 20 GB of disk under build/release; ends with the number of failed programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/build_env.sh

scripts/deps.sh test
quietly "configuring" cmake --preset release -DSPILLWAY_BUILD_TESTS=ON
quietly "building" cmake --build build/release -j "$jobs" --target spillway_tests

export SPILLWAY_SOAK=1
cd build/release
failed=0
filter=${1:-*}
for program in tests/spillway_*_test; do
  # Only those that have something to run longer.
  case $program in
    *soak_test | *model_test | *swap_test | *memory_test | *io_test | *contract_test | *store_test) ;;
    *) continue ;;
  esac
  "$program" --gtest_list_tests --gtest_filter="$filter" | grep -q '^  ' || continue
  echo "== $program"
  "$program" --gtest_filter="$filter" --gtest_brief=1 </dev/null || failed=$((failed + 1))
done
echo "== failed programs: $failed"
((failed == 0))
