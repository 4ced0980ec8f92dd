#!/usr/bin/env bash
# bench/fast_device.sh leaves nothing behind, however it ends: fast_device_test.sh PROGRAM ENGINE_VS_FIO
set -euo pipefail
program=$1 engine_vs_fio=$2
fail() { echo "fast_device_test: $*" >&2 && exit 1; }

status=0
output=$("$program" --size 400 "$engine_vs_fio" 2>&1) || status=$?
echo "$output"
if ((status == 77)); then exit 0; fi # it has said what is missing
((status == 0)) || fail "the command's run ended with $status"
[[ $output == *"xfs on /dev/zram"* && $output == *"tmpfs on "* ]] || fail "ran on something else"

status=0
"$program" --size 400 --on zram sh -c 'exit 3' || status=$?
((status == 3)) || fail "the command's status 3 became $status"

# Interrupted while the command runs: it ends at once, with the signal's status. (A shell without
# job control would make it deaf to SIGINT from the start.)
note=$(mktemp)
trap 'rm -f "$note"' EXIT
set -m
"$program" --size 400 --on zram sh -c "pwd >'$note'; sleep 60" &
set +m
for ((i = 0; i < 200; ++i)); do
  [[ -s $note ]] && break
  sleep 0.05
done
folder=$(cat "$note")
[[ -n $folder ]] || fail "the command did not start"
kill -INT $!
status=0
wait $! || status=$?
((status == 130)) || fail "after SIGINT its status is $status"
[[ ! -e $folder ]] || fail "$folder is left"
