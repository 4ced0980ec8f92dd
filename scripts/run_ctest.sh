#!/usr/bin/env bash
# Runs the suite of build/PRESET and judges its skips: scripts/run_ctest.sh PRESET [CTEST ARGS...].
# Leaves build/PRESET/junit.xml, and "PASSED FAILED SKIPPED" in build/PRESET/totals.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=$1
shift
build=build/$preset
rm -f "$build/junit.xml" "$build/totals.txt"

# Two at a time: the tests share one disk, and some pin memory.
status=0
ctest --test-dir "$build" --output-on-failure --no-tests=error --output-junit junit.xml \
  --test-output-size-passed 65536 --test-output-size-failed 65536 \
  -j "${CTEST_PARALLEL_LEVEL:-2}" "$@" </dev/null || status=$?

scripts/list_skips.sh "$preset" "$build/junit.xml" "$build/totals.txt" || status=1
exit $status
