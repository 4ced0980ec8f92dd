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
source "$(dirname "${BASH_SOURCE[0]}")/support/compare_with_fio.sh"

# Pages: fio's 8 MiB, and what the pool may take of them.
compare_with_fio params_vs_fio 256 "$@"
