#!/usr/bin/env bash
# The figure of the README: how close to the disk is a step of gpt2-medium?
#
#   bench/step_vs_fio.sh [--pairs 21] [--model gpt2-medium] [--nvme-path DIR] [--buffer-count N]
#                        [--tile-bytes BYTES] [--json FILE] ...   (--help lists all)
#
# Builds Release, gives fio its huge pages for the time of the run (as root), and compares the two
# pair by pair. Takes some five minutes; needs fio, and the disk to itself.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/support/compare_with_fio.sh"

# Pages: fio's 8 MiB and some more, for the pool may take of them too.
compare_with_fio step_vs_fio 64 "$@"
