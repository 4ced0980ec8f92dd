#!/usr/bin/env bash
# Runs a command on file systems that cost nearly nothing, so that what is left is software:
#
#   bench/fast_device.sh [--on zram|tmpfs|both] [--size MIB] COMMAND [ARGUMENT...]
#
#   zram    XFS on a compressed RAM disk. A page that repeats one 8-byte word is stored for free,
#           so whoever writes such pages measures the path through the kernel and nothing else;
#           other data costs its compression. Direct I/O as on a disk.
#   tmpfs   no block device: the kernel copies. Takes real memory for every page.
#   both    one after the other (the default)
#
# The command runs in the fresh file system, with SPILLWAY_FAST_DEVICE=zram or tmpfs and paths as
# its own arguments say (give it absolute ones). --size is that of the file system, in MiB (4096).
#
# Needs root. Mounts in a mount namespace of its own, which nobody else sees, and takes everything
# down at its end, after Ctrl-C too. Ends with the command's status; with 77 and a line that says
# what is missing where it cannot run.
set -euo pipefail

usage() { sed -n '2,18s/^# \{0,1\}//p' "$0"; }
cannot() { # WHAT: to both kinds of reader; a test runner looks for the first word
  echo "SKIPPED: fast_device: $*"
  exit 77
}

on=both size=4096
while (($# > 0)); do
  case $1 in
    --on | --size)
      if (($# < 2)); then echo "fast_device: $1 wants a value" >&2 && exit 2; fi
      if [[ $1 == --on ]]; then on=$2; else size=$2; fi
      shift 2
      ;;
    -h | --help) usage && exit 0 ;;
    --) shift && break ;;
    -*) usage >&2 && exit 2 ;;
    *) break ;;
  esac
done
case $on in zram | tmpfs) kinds=("$on") ;; both) kinds=(zram tmpfs) ;; *) usage >&2 && exit 2 ;; esac
if [[ ! $size =~ ^[1-9][0-9]*$ ]] || (($# == 0)); then usage >&2 && exit 2; fi

if ((EUID != 0)); then cannot "needs root, to make and mount file systems: run it with sudo"; fi

# A namespace of our own: the mounts end with the last process in it, whatever ends this script.
if [[ -z ${SPILLWAY_FAST_DEVICE_INSIDE:-} ]]; then
  command -v unshare >/dev/null || cannot "needs unshare: apt-get install util-linux"
  unshare --mount true 2>/dev/null ||
    cannot "may not make a mount namespace: it needs CAP_SYS_ADMIN (docker run --privileged)"
  SPILLWAY_FAST_DEVICE_INSIDE=1 exec unshare --mount --propagation private \
    "$BASH" "${BASH_SOURCE[0]}" --on "$on" --size "$size" -- "$@"
fi
unset SPILLWAY_FAST_DEVICE_INSIDE

folder='' number='' child='' signalled=0
control=/sys/class/zram-control

# What was just killed may hold a file for a moment, and what was just unmounted its disk.
patiently() {
  local try
  for ((try = 0; try < 10; ++try)); do
    if "$@" 2>/dev/null; then return 0; fi
    sleep 0.2
  done
  return 1
}
unmount() { ! mountpoint -q "$folder" || umount "$folder"; }
remove_zram() { echo 1 >"/sys/block/zram$number/reset" && echo "$number" >"$control"/hot_remove; }

clean_up() {
  trap '' INT TERM HUP
  cd /
  if [[ -n $child ]]; then kill -KILL -- "-$child" 2>/dev/null || true; fi
  if [[ -n $folder ]]; then
    patiently unmount || umount --lazy "$folder" || true
    rmdir "$folder" || true
  fi
  if [[ -n $number ]] && ! patiently remove_zram; then
    echo "fast_device: /dev/zram$number is still in use and stays; when it is free:" \
      "echo 1 > /sys/block/zram$number/reset; echo $number > $control/hot_remove" >&2
  fi
  folder='' number='' child=''
}
# The command has a process group of its own, so that a signal reaches all of it, and reaches it
# also when it was sent to this script only.
pass_on() {
  signalled=$2
  if [[ -n $child ]]; then kill -"$1" -- "-$child" 2>/dev/null || true; fi
}
heed_signals() {
  trap 'pass_on INT 130' INT
  trap 'pass_on TERM 143' TERM
  trap 'pass_on HUP 129' HUP
}
trap clean_up EXIT
heed_signals

available_mib() { awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo; }

make_zram() {
  command -v mkfs.xfs >/dev/null || cannot "needs mkfs.xfs: apt-get install xfsprogs"
  if ! grep -qw xfs /proc/filesystems; then modprobe xfs 2>/dev/null || true; fi
  grep -qw xfs /proc/filesystems || cannot "this kernel has no XFS"
  if [[ ! -e "$control"/hot_add ]]; then modprobe zram 2>/dev/null || true; fi
  [[ -r "$control"/hot_add ]] || cannot "this kernel has no zram (CONFIG_ZRAM, or modprobe zram)"
  # XFS wants 300 MiB. The disk is sparse; the limit keeps other data from eating the machine.
  local mib=$((size < 320 ? 320 : size)) limit
  limit=$(($(available_mib) / 2))
  number=$(cat "$control"/hot_add 2>/dev/null || true)
  [[ -n $number ]] || cannot "$control/hot_add gives no device: it needs CAP_SYS_ADMIN and a" \
    "writable /sys (docker run --privileged)"
  local disk=/sys/block/zram$number
  echo $((mib * 1024 * 1024)) >"$disk/disksize"
  echo $(((limit < mib ? limit : mib) * 1024 * 1024)) >"$disk/mem_limit"
  if [[ ! -b /dev/zram$number ]]; then # no devtmpfs here
    mknod "/dev/zram$number" b "$(cut -d: -f1 "$disk/dev")" "$(cut -d: -f2 "$disk/dev")"
  fi
  mkfs.xfs -q -f -K "/dev/zram$number"
  mount -t xfs -o noatime "/dev/zram$number" "$folder"
}

make_tmpfs() {
  local mib=$size most
  most=$(($(available_mib) / 2))
  if ((mib > most)); then
    mib=$most
    echo "fast_device: tmpfs gets $mib MiB, half of the memory that is available" >&2
  fi
  mount -t tmpfs -o "size=${mib}m,mode=0700" spillway-fast-device "$folder"
}

# Leaves the command's status in `status`. (Not by return: a caller that looks at it would switch
# `set -e` off in here.)
run_on() { # KIND COMMAND...
  local kind=$1
  shift
  folder=$(mktemp -d "${TMPDIR:-/tmp}/spillway-fast-device-XXXXXX")
  "make_$kind"
  if ((signalled != 0)); then exit "$signalled"; fi
  set -m
  (cd "$folder" && SPILLWAY_FAST_DEVICE=$kind exec "$@") </dev/null &
  child=$!
  set +m
  # A trapped signal ends the wait, not the command: wait on until it is over.
  while :; do
    status=0
    wait "$child" || status=$?
    kill -0 "$child" 2>/dev/null || break
  done
  clean_up
  if ((signalled != 0)); then exit "$signalled"; fi
  heed_signals
}

worst=0 status=0
for kind in "${kinds[@]}"; do
  run_on "$kind" "$@"
  if ((worst == 0)); then worst=$status; fi
done
exit "$worst"
