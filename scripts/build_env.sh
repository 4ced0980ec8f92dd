# Sourced by the other scripts, from the root of the tree: how builds run here.
# shellcheck shell=bash
# shellcheck disable=SC2034  # `jobs` is for those who source this

# A cache beside the builds, so that nothing outside the tree is written; CCACHE_DIR overrides.
export CCACHE_DIR=${CCACHE_DIR:-$PWD/build/ccache}
jobs=${SPILLWAY_JOBS:-$(nproc)}

# Compilers are hungry: about 1 GiB each with optimization and sanitizers.
memory_jobs=$(awk '/^MemAvailable:/ { print int($2 / 1024 / 1024) }' /proc/meminfo)
if ((memory_jobs >= 1 && memory_jobs < jobs)); then jobs=$memory_jobs; fi

# quietly WHAT COMMAND...: one line while all is well, the whole output if it fails.
quietly() {
  local what=$1 log status=0 start=$SECONDS
  shift
  log=$(mktemp)
  printf '%s ... ' "$what"
  "$@" >"$log" 2>&1 || status=$?
  if ((status != 0)); then
    echo "failed"
    cat "$log" >&2
    echo "$what: exit code $status: $*" >&2
  else
    echo "done in $((SECONDS - start)) s"
  fi
  rm -f "$log"
  return $status
}
