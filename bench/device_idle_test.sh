#!/usr/bin/env bash
# bench/device_idle.py finds the gaps of a trace: device_idle_test.sh PROGRAM
set -euo pipefail
program=$1
fail() { echo "device_idle_test: $*" >&2 && exit 1; }

# 3 MiB read and written in 2.2 ms, with gaps of 0.1 and 0.2 ms; before it a read of the set-up, in
# between what another disk does, at the end a write that belongs to no read.
trace() {
  local format='  io-7 [001] ..... %s: block_rq_%s: %s () %s be,0,4 [io]\n'
  # shellcheck disable=SC2059
  printf "$format" 9.000000 issue '254,0 RS 1048576' '0 + 2048' \
    9.100000 complete '254,0 RS' '0 + 2048' \
    10.000000 issue '254,0 RS 1048576' '0 + 2048' \
    10.000100 issue '254,0 WS 1048576' '4096 + 2048' \
    10.000200 issue '8,16 RS 4096' '8 + 8' \
    10.001000 complete '254,0 RS' '0 + 2048' \
    10.001000 complete '254,0 WS' '4096 + 2048' \
    10.001100 issue '254,0 RS 1048576' '2048 + 2048' \
    10.002000 complete '254,0 RS' '2048 + 2048' \
    10.002200 issue '254,0 RS 1048576' '6144 + 2048' \
    10.400000 issue '254,0 WS 1048576' '8192 + 2048'
}
answer=$(trace | python3 "$program" --trace - --device 254,0)
expected="0.00 s, 1.43 GB/s: idle 13.6 % of the time, in 2 gaps of 150 us (median), 1.5 MiB from one \
to the next; 1.66 GB/s without them"
[[ $answer == "$expected" ]] || fail "$answer"

! trace | python3 "$program" --trace - --device 8,16 >/dev/null 2>&1 || fail "a disk that never waits"
! python3 "$program" --trace - >/dev/null 2>&1 </dev/null || fail "an empty trace"
