#!/usr/bin/env bash
# Lists the skipped tests of a run with their reasons, and judges them:
#
#   scripts/list_skips.sh PRESET JUNIT_XML [TOTALS]
#
# Ends with 1 if a skipped test also left a sanitizer's report (ctest counts it as skipped all the
# same), and, with CI=true, if a skip is not in tests/allowed_skips.txt. TOTALS receives
# "PASSED FAILED SKIPPED".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=$1 xml=$2 totals=${3:-/dev/null}
list=${SPILLWAY_ALLOWED_SKIPS:-tests/allowed_skips.txt}

# One line per test: result, name, and the reason of a skip, separated by tabs. ctest writes each
# element of its file on a line of its own, and the output of a test line by line.
read_results() {
  awk '
    function text(line) {
      gsub(/&lt;/, "<", line); gsub(/&gt;/, ">", line); gsub(/&quot;/, "\"", line)
      gsub(/&apos;/, "\047", line); gsub(/&amp;/, "\\&", line); gsub(/\t/, " ", line)
      return line
    }
    /^\t<testcase / {
      name = status = $0
      sub(/.* classname="/, "", name); sub(/" time=".*/, "", name)
      sub(/.* status="/, "", status); sub(/".*/, "", status)
      reason = ""
      report = take = 0
      result = status == "run" ? "passed" : "failed"
    }
    /^\t\t<skipped message="SKIP_/ { result = "skipped" }
    { sub(/^\t\t<system-out>/, "") }
    /(ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|: runtime error: )/ { report = 1 }
    # GoogleTest prints the place, the reason, and a closing line; our scripts, one line.
    /^\[  SKIPPED \]/ { take = 0 }
    take && $0 != "" { reason = reason (reason == "" ? "" : " ") $0 }
    /: Skipped$/ && reason == "" { take = 1 }
    /^SKIPPED: / && reason == "" { reason = substr($0, 10) }
    /^\t<\/testcase>/ {
      if (result == "skipped" && report) result = "reported"
      print result "\t" text(name) "\t" text(reason)
    }
  ' "$xml"
}

# Whether the list lets the test $1 be skipped in this build.
allowed() {
  local where pattern
  while read -r where pattern _; do
    [[ $where == any || $where == "$preset" ]] || continue
    [[ $1 =~ ^($pattern)$ ]] && return 0
  done <"$list"
  return 1
}

passed=0 failed=0 skipped=0 status=0
while IFS=$'\t' read -r result name reason; do
  case $result in
    passed) ((++passed)) ;;
    failed) ((++failed)) ;;
    skipped)
      ((++skipped))
      mark=
      if ! allowed "$name"; then
        mark=" [not in tests/allowed_skips.txt]"
        [[ ${CI:-} == true ]] && status=1
      fi
      echo "skipped: $name: ${reason:-no reason given}$mark"
      ;;
    reported)
      ((++failed))
      status=1
      echo "failed: $name was skipped, but a sanitizer reported an error in it"
      ;;
  esac
done < <(read_results)

echo "$passed $failed $skipped" >"$totals"
echo "$preset: $passed passed, $failed failed, $skipped skipped"
if ((status != 0)); then echo "$preset: not every skip above is allowed" >&2; fi
exit $status
