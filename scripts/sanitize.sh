#!/usr/bin/env bash
# Builds with sanitizers and runs the suite: scripts/sanitize.sh asan|tsan [CTEST ARGS...]
#
#   asan   AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer, on everything
#   tsan   ThreadSanitizer, on the tests whose label ends in -threaded
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/build_env.sh
preset=${1:-}
run=()
case $preset in
  asan)
    target=all
    selection=()
    ;;
  tsan)
    target=spillway_threaded_tests
    selection=(-L '-threaded$')
    # GCC 12's runtime cannot place its shadow where the kernel randomizes more than 28 bits.
    bits=$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 0)
    if ((bits > 28)); then run=(setarch "$(uname -m)" --addr-no-randomize); fi
    ;;
  *)
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
shift

# A request for too much memory must come back as bad_alloc, as it does in a plain build.
export ASAN_OPTIONS=${ASAN_OPTIONS:-halt_on_error=1:detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1:allocator_may_return_null=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1:allocator_may_return_null=1}

scripts/deps.sh test
quietly "configuring $preset" cmake --preset "$preset" -DSPILLWAY_BUILD_TESTS=ON \
  -DSPILLWAY_BUILD_TOOLS=ON -DSPILLWAY_BUILD_BENCH=ON -DSPILLWAY_BUILD_EXAMPLES=ON
quietly "building $preset" cmake --build "build/$preset" -j "$jobs" --target "$target"
"${run[@]}" scripts/run_ctest.sh "$preset" "${selection[@]}" "$@"
