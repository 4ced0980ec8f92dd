#!/usr/bin/env bash
# Line and branch coverage of src/ by the suite, room by room: scripts/coverage.sh [CTEST ARGS...]
#
# Ends with 1 if a test fails, if less than 90 % of the lines of src/ were run, or if less than 85 %
# of the branches of src/io or src/store were taken. An HTML report stands in build/coverage/html.
#
# Branches that only an exception takes are left out of the bar: GCC counts two for every call that
# may throw, most of them for allocations, in every destructor list. The last column holds them too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/build_env.sh

line_bar=90 branch_bar=85
build=build/coverage

scripts/deps.sh test coverage
quietly "configuring" cmake --preset coverage -DSPILLWAY_BUILD_TESTS=ON -DSPILLWAY_BUILD_TOOLS=ON \
  -DSPILLWAY_BUILD_BENCH=OFF -DSPILLWAY_BUILD_EXAMPLES=OFF -DSPILLWAY_INSTALL=OFF
quietly "building" cmake --build $build -j "$jobs"
# Counts of an earlier run would be added to.
find $build -name '*.gcda' -delete
status=0
scripts/run_ctest.sh coverage "$@" || status=1

# FILE,lines,covered,share,branches,covered,share,... for each file of src/.
figures() {
  gcovr --root . --object-directory $build --filter 'src/' --exclude-unreachable-branches \
    -j "$jobs" "$@" $build/src
}
mkdir -p $build/html
figures --exclude-throw-branches --csv $build/coverage.csv \
  --html-details $build/html/index.html >$build/gcovr.log 2>&1
figures --csv $build/coverage_throw.csv >>$build/gcovr.log 2>&1

# The rooms in the order of the house.
awk -F, -v line_bar=$line_bar -v branch_bar=$branch_bar '
  FNR == 1 { ++file; next }
  {
    split($1, path, "/")
    room = path[2]
    if (file == 1) {
      if (!(room in lines)) rooms[++count] = room
      lines[room] += $2; run[room] += $3; branches[room] += $5; taken[room] += $6
      lines["src"] += $2; run["src"] += $3; branches["src"] += $5; taken["src"] += $6
    } else {
      all[room] += $5; all_taken[room] += $6
      all["src"] += $5; all_taken["src"] += $6
    }
  }
  function share(part, whole) { return whole == 0 ? 100 : 100 * part / whole }
  function row(room) {
    printf "%-8s %6d lines %6.1f %%   %6d branches %6.1f %%   with those of exceptions %6.1f %%\n", \
      room, lines[room], share(run[room], lines[room]), branches[room], \
      share(taken[room], branches[room]), share(all_taken[room], all[room])
  }
  END {
    if (count == 0) { print "coverage: nothing was counted"; exit 1 }
    order = "base sys config memory io store cache swap tune context"
    many = split(order, house, " ")
    for (i = 1; i <= many; ++i) if (house[i] in lines) row(house[i])
    row("src")
    bad = 0
    if (share(run["src"], lines["src"]) < line_bar) {
      printf "coverage: lines of src are below %d %%\n", line_bar
      bad = 1
    }
    split("io store", judged, " ")
    for (i in judged)
      if (share(taken[judged[i]], branches[judged[i]]) < branch_bar) {
        printf "coverage: branches of src/%s are below %d %%\n", judged[i], branch_bar
        bad = 1
      }
    exit bad
  }' $build/coverage.csv $build/coverage_throw.csv || status=1
exit $status
