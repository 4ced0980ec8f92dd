#!/usr/bin/env bash
# The long forms of tests that the suite runs short: tensors and states of more than 4 GiB, many
# seeds of the model tests, thousands of steps on a disk that fails at random, fifty kills, every
# single allocation that may fail. Arguments: GoogleTest filters, else everything.
#
#   scripts/soak.sh                      # all
#   scripts/soak.sh 'LargeTest.*'        # one
#   scripts/soak.sh 'FaultyDiskTest.*'   # 10,000 steps of a small model, 1,000 of a larger one
#
# Needs about 20 GB of disk under build/release; ends with the number of failed programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/build_env.sh

scripts/deps.sh test
quietly "configuring" cmake --preset release -DSPILLWAY_BUILD_TESTS=ON
quietly "building" cmake --build build/release -j "$jobs" --target spillway_tests

export SPILLWAY_SOAK=1
# Twenty times as many cases of every property.
export RC_PARAMS=${RC_PARAMS:-max_success=2000}
cd build/release
failed=0
filter=${1:-*}
for program in tests/spillway_*_test; do
  # Only those that have something to run longer.
  case $program in
    *soak_test | *model_test | *swap_test | *memory_test | *io_test | *contract_test | *store_test | \
      *fault_test | *config_test | *base_test) ;;
    *) continue ;;
  esac
  "$program" --gtest_list_tests --gtest_filter="$filter" | grep -q '^  ' || continue
  echo "== $program"
  "$program" --gtest_filter="$filter" --gtest_brief=1 </dev/null || failed=$((failed + 1))
done
echo "== failed programs: $failed"
((failed == 0))
