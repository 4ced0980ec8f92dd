#!/usr/bin/env bash
# The figure of the README: how close to the disk is a step of gpt2-medium?
#
#   bench/step_vs_fio.sh [--pairs 21] [--model gpt2-medium] [--nvme-path DIR] [--buffer-count N]
#                        [--tile-bytes BYTES] [--json FILE] ...   (--help lists all)
#
# Builds Release, gives fio its huge pages for the time of the run (as root), and compares the two
# pair by pair. Takes some five minutes; needs fio, and the disk to itself.
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
source scripts/build_env.sh

quietly "configuring" cmake --preset release -DSPILLWAY_BUILD_TOOLS=ON -DSPILLWAY_BUILD_BENCH=ON
quietly "building" cmake --build build/release -j "$jobs" --target step_vs_fio

# fio takes hugetlb pages for its buffers and gives them back at its end. Some more than its 8 MiB,
# for the pool may take of them too.
pages=64
setting=/proc/sys/vm/nr_hugepages
before=$(cat $setting)
restore() { echo "$before" >$setting; }
if ((before < pages)); then
  if [[ -w $setting ]]; then
    trap restore EXIT
    echo $pages >$setting
  else
    echo "step_vs_fio: without root, and vm.nr_hugepages is $before: fio's rate will be no ceiling;" \
      "sysctl vm.nr_hugepages=$pages mends it" >&2
  fi
fi
cd "$here"
"$root/build/release/bench/step_vs_fio/step_vs_fio" "$@"
