# Sourced by scripts that compare with fio. compare_with_fio PROGRAM PAGES [ARGS...]: builds
# bench/PROGRAM in Release, gives fio its hugetlb pages for the time of the run (as root), and runs
# the program in the folder that the script was called from.
# shellcheck shell=bash
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
root=$PWD
source scripts/build_env.sh

compare_with_fio() {
  local program=$1 pages=$2 setting=/proc/sys/vm/nr_hugepages
  shift 2
  quietly "configuring" cmake --preset release -DSPILLWAY_BUILD_TOOLS=ON -DSPILLWAY_BUILD_BENCH=ON
  quietly "building" cmake --build build/release -j "$jobs" --target "$program"
  pages_before=$(cat $setting)
  if ((pages_before < pages)); then
    if [[ -w $setting ]]; then
      # The trap runs when the function's own variables are gone.
      trap 'echo "$pages_before" >/proc/sys/vm/nr_hugepages' EXIT
      echo "$pages" >$setting
    else
      echo "$program: without root, and vm.nr_hugepages is $pages_before: fio's rate will be no" \
        "ceiling; sysctl vm.nr_hugepages=$pages mends it" >&2
    fi
  fi
  cd "$here" || return
  "$root/build/release/bench/$program/$program" "$@"
}
