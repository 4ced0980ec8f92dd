#!/usr/bin/env python3
"""How long does a disk wait for its next request while a command runs?

    bench/device_idle.py [--path DIR] -- COMMAND [ARGUMENTS...]
    bench/device_idle.py --trace FILE --device 254,0

Traces the block layer's requests (as root, through tracefs) while COMMAND runs, and prints how much
of the time the disk under DIR (default: here) had nothing to do, in how many gaps, and how much it
was given between two of them. Looked at is the longest stretch in which it reads with no pause of
more than 0.1 s: set-up and what is computed in memory are left out. With --trace a trace that is
there already is read instead ("-": standard input).
"""
import argparse
import os
import re
import statistics
import subprocess
import sys

TRACING = "/sys/kernel/tracing"
EVENT = re.compile(
    r"\s([\d.]+): block_rq_(issue|complete): (\d+,\d+) ([A-Z]+) .*?(\d+) \+ (\d+)")
SECTOR = 512
PAUSE = 0.1  # [s] between two reads that ends a stretch


def disk_under(path):
    """The disk, as the kernel's events name it: "254,0"."""
    number = os.stat(path).st_dev
    node = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if os.path.exists(f"{node}/partition"):
        node = os.path.dirname(node)
    try:
        with open(f"{node}/dev", encoding="ascii") as file:
            return file.read().strip().replace(":", ",")
    except FileNotFoundError:
        sys.exit(f"{path}: no block device is under it")


def record(command):
    """Runs the command; the lines of its trace."""
    trace = f"{TRACING}/instances/spillway-{os.getpid()}"
    try:
        os.mkdir(trace)
    except OSError as error:
        sys.exit(f"{trace}: {error.strerror}: tracing takes root, and tracefs at {TRACING}")
    try:
        for name, value in (("buffer_size_kb", "32768"), ("trace_clock", "mono"),
                            ("events/block/block_rq_issue/enable", "1"),
                            ("events/block/block_rq_complete/enable", "1")):
            with open(f"{trace}/{name}", "w", encoding="ascii") as file:
                file.write(value)
        status = subprocess.run(command, stdout=sys.stderr, check=False).returncode
        with open(f"{trace}/tracing_on", "w", encoding="ascii") as file:
            file.write("0")
        with open(f"{trace}/trace", encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    finally:
        os.rmdir(trace)
    if status != 0:
        sys.exit(f"{command[0]} ended with {status}")
    return lines


def events_of(lines, device):
    """(seconds, issue or complete, R or W..., sector, sectors), of one disk."""
    found = (EVENT.search(line) for line in lines)
    return [(float(m[1]), m[2], m[4][0], int(m[5]), int(m[6]))
            for m in found if m and m[3] == device]


def longest_stretch(events):
    """The events from the first to the last of the reads that follow each other without a pause."""
    reads = [time for time, what, operation, *_ in events if what == "issue" and operation == "R"]
    if not reads:
        return []
    best = (reads[0], reads[0])
    begin = last = reads[0]
    for time in reads[1:]:
        if time - last > PAUSE:
            begin = time
        last = time
        best = max(best, (begin, last), key=lambda stretch: stretch[1] - stretch[0])
    return [event for event in events if best[0] <= event[0] <= best[1]]


def gaps_of(events):
    """[s] the times in which nothing was under way, and the bytes that were moved."""
    under_way, gaps, moved, idle_since = {}, [], 0, None
    for time, what, _, sector, sectors in events:
        if what == "issue":
            if not under_way and idle_since is not None:
                gaps.append(time - idle_since)
            under_way[sector] = sectors
        elif sector in under_way:
            moved += under_way.pop(sector) * SECTOR
            idle_since = time
    return gaps, moved


def report(events):
    """The answer, as text."""
    events = longest_stretch(events)
    gaps, moved = gaps_of(events)
    if not gaps:
        sys.exit("the disk was never seen to wait: did the command read from it, without cache?")
    seconds = events[-1][0] - events[0][0]
    idle = sum(gaps)
    return (f"{seconds:.2f} s, {moved / seconds / 1e9:.2f} GB/s: idle {100 * idle / seconds:.1f} % "
            f"of the time, in {len(gaps)} gaps of {1e6 * statistics.median(gaps):.0f} us (median), "
            f"{moved / len(gaps) / 2**20:.1f} MiB from one to the next; "
            f"{moved / (seconds - idle) / 1e9:.2f} GB/s without them")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", default=".", help="which disk: the one under this directory")
    parser.add_argument("--device", help='which disk, as the kernel names it: "254,0"')
    parser.add_argument("--trace", help="a trace to read")
    parser.add_argument("command", nargs="*")
    options = parser.parse_args()
    if (options.trace is None) == (not options.command):
        parser.error("either a command or a trace")
    device = options.device or disk_under(options.path)
    if options.trace is None:
        lines = record(options.command)
    elif options.trace == "-":
        lines = sys.stdin.readlines()
    else:
        with open(options.trace, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    print(report(events_of(lines, device)))


if __name__ == "__main__":
    main()
