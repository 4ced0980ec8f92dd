#!/usr/bin/env bash
# How close to the disk are fetches, and what is waited for where there is time to think? Beside
# fio, in the same run: bench/params_vs_fio/main.cpp.
#
#   bench/params_vs_fio.sh [--pairs 21] [--model gpt2-medium] [--nvme-path DIR] [--json FILE] ...
#                          (--help lists all)
#
# Builds Release, gives fio its huge pages for the time of the run (as root), and compares the two
# pair by pair. Takes some four minutes; needs fio, and the disk to itself.
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
source scripts/build_env.sh

quietly "configuring" cmake --preset release -DSPILLWAY_BUILD_TOOLS=ON -DSPILLWAY_BUILD_BENCH=ON
quietly "building" cmake --build build/release -j "$jobs" --target params_vs_fio

# fio takes 8 MiB of hugetlb pages and gives them back at its end; the pool may take of them too.
pages=256
setting=/proc/sys/vm/nr_hugepages
before=$(cat $setting)
restore() { echo "$before" >$setting; }
if ((before < pages)); then
  if [[ -w $setting ]]; then
    trap restore EXIT
    echo $pages >$setting
  else
    echo "params_vs_fio: without root, and vm.nr_hugepages is $before: fio's rate will be no" \
      "ceiling; sysctl vm.nr_hugepages=$pages mends it" >&2
  fi
fi
cd "$here"
"$root/build/release/bench/params_vs_fio/params_vs_fio" "$@"
