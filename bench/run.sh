#!/usr/bin/env bash
# Everything at once: all bench_* programs, what the path gives, the swap step by peers, steps of a
# model; JSON of each, and one page that opens without a network.
#
#   bench/run.sh [--directory DIR] [--out DIR] [--page FILE] [--model gpt2] [--rounds N]
#                [--seconds S] [--build DIR] [--benchmarks REGEX]
#
#   --directory  where files are made, and so which disk is measured (the current one)
#   --out        where the JSON goes (build/release/bench-results)
#   --page       the page (docs/results/index.html)
#   --model      of the steps; --rounds of them and of the peers, --seconds of each turn
#   --build      a build that is there already, instead of a fresh one of the release preset
#   --benchmarks which of bench_*, by their names (all)
#
# Takes some fifteen minutes and wants the machine to itself. As root it sets huge pages aside for
# fio while it runs; without them fio's rates are no ceiling on some disks.
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
command_line=bench/run.sh  # for the page: without paths, which mean nothing elsewhere

directory=$here out='' page=$root/docs/results/index.html build='' benchmarks=. model=gpt2 rounds=9 seconds=1
while (($# > 0)); do
  if [[ $1 == --* ]] && (($# < 2)); then echo "run.sh: $1 wants a value" >&2 && exit 2; fi
  case $1 in
    --directory) directory=$2 ;;
    --out) out=$2 ;;
    --page) page=$2 ;;
    --model) model=$2 ;;
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --build) build=$2 ;;
    --benchmarks) benchmarks=$2 ;;
    *) sed -n '2,18s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
  esac
  case $1 in --model | --rounds | --seconds | --benchmarks) command_line+=" $1 $2" ;; esac
  shift 2
done
if ! command -v python3 >/dev/null; then
  echo "SKIPPED: run.sh needs python3, for the page: apt-get install python3" && exit 0
fi
absolute() { case $1 in /*) echo "$1" ;; *) echo "$here/$1" ;; esac; }

if [[ -z $build ]]; then
  source scripts/build_env.sh
  quietly "configuring" cmake --preset release -DSPILLWAY_BUILD_TOOLS=ON -DSPILLWAY_BUILD_BENCH=ON
  quietly "building" cmake --build build/release -j "$jobs"
  build=$root/build/release
fi
build=$(absolute "$build") directory=$(absolute "$directory") page=$(absolute "$page")
out=$(absolute "${out:-$build/bench-results}")
mkdir -p "$out" "$(dirname "$page")"
rm -f "$out"/{bench_*,io,peers,step_*}.json
cd "$directory"

setting=/proc/sys/vm/nr_hugepages
added=0
restore() { if ((added > 0)); then echo $(($(cat $setting) - added)) >$setting; fi; }
# Tried out, it runs beside others, who would find the pages.
tiny=0 ceiling=auto
if [[ ${SPILLWAY_BENCH_TINY:-} == 1 ]]; then tiny=1 ceiling=engine; fi
if ((tiny == 0)) && [[ -w $setting ]]; then
  before=$(cat $setting)
  trap restore EXIT
  echo $((before + 64)) >$setting
  added=$(($(cat $setting) - before))
fi

say() { echo "run.sh: $*" >&2; }
for program in "$build"/bench/bench_*; do
  [[ -x $program && -f $program ]] || continue
  name=$(basename "$program")
  [[ $name =~ $benchmarks ]] || continue
  say "$name"
  extra=(--benchmark_min_time=0.1)
  if ((tiny)); then extra=(--benchmark_min_time=0.001); fi
  "$program" "${extra[@]}" --benchmark_out="$out/$name.json" --benchmark_out_format=json \
    >"$out/$name.txt" 2>&1 || { cat "$out/$name.txt" >&2 && exit 1; }
done

say "bench io"
paths=(--rounds "$rounds" --seconds "$seconds" --max-written 200GiB)
if ((tiny)); then paths=(--rounds 2 --seconds 0.02 --size 8MiB --ceiling none); fi
"$build/tools/spillway/spillway" bench io --nvme-path . "${paths[@]}" --json "$out/io.json" \
  >"$out/io.txt"

say "peers"
peers=(--rounds "$rounds" --seconds "$seconds")
if ((tiny)); then peers=(); fi
"$build/bench/peers/swap_peers" "${peers[@]}" --json "$out/peers.json" >"$out/peers.txt"

# The steps in memory lie in huge pages only if malloc knew it from the start.
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1
step() { # NAME ARGUMENT...
  local name=$1
  shift
  say "step: $name"
  "$build/tools/spillway/spillway" bench step --model "$model" --rounds "$rounds" \
    --seconds "$seconds" --ceiling $ceiling "$@" --json >"$out/step_$name.json"
}
step flags --flags both,write,read,none
# The same with as much to compute as to move. A repetition finds its tile in the processor's cache,
# so what one costs is known only from a run with several: eight, here.
step repeated --flags both --repeat 8
repeat=$(python3 - "$out/step_flags.json" "$out/step_repeated.json" <<'PYTHON'
import json, sys
one, eight = (json.load(open(name))["results"][0] for name in sys.argv[1:])
once = one["in_memory_seconds"]["median"]
each = max((eight["in_memory_seconds"]["median"] - once) / 7, 1e-6)
print(max(1, min(1000, round(1 + (one["io_seconds"]["median"] - once) / each))))
PYTHON
)
rm "$out/step_repeated.json"
step matched --flags both,none --repeat "$repeat"
step ratio --flags both --ratio 1,0.75,0.5,0.25
step buffers --flags both --tile-size 1MiB,4MiB,16MiB --buffers 3,4,6 --compute none
step engines --flags both --engine io_uring,threads

python3 "$root/bench/results_page.py" --data "$out" --page "$page" --command "$command_line"
say "$page"
