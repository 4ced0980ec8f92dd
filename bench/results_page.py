#!/usr/bin/env python3
"""Draws what bench/run.sh measured as one page that opens without a network.

    results_page.py --data DIR --page FILE --command TEXT

DIR holds the JSON of one run; a plot whose file is missing is left out. Standard library only.
"""
import argparse
import datetime
import html
import json
import math
import os

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 280, 64, 44, 14
COLOURS = ["#2060a0", "#d07020", "#40904a", "#a03060", "#7060b0", "#808080"]

STYLE = """body{font:15px/1.5 sans-serif;max-width:760px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.5em}h2{font-size:1.1em;margin:2em 0 .2em}p{margin:.3em 0}
svg{width:100%;height:auto}svg text{font:12px sans-serif;fill:#333}
.key i{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em}
table{border-collapse:collapse}td,th{padding:.15em .8em .15em 0;text-align:left}
code{background:#f2f2f2;padding:0 .2em}.doubt{color:#a03000}small{color:#555}"""


def number(value):
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ticks(top):
    """A few round values from 0 to at least `top`."""
    if top <= 0:
        return [0, 1]
    raw = top / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    return [step * i for i in range(int(math.ceil(top / step - 1e-9)) + 1)]


class Plot:
    """Values over named places on the horizontal axis, as bars or as lines, with their spread."""

    def __init__(self, title, question, unit, places, lines=False):
        self.title, self.question, self.unit = title, question, unit
        self.places, self.lines = places, lines
        self.series = []

    def add(self, name, values):
        """`values`: for each place None, a number, or (median, min, max)."""
        whole = []
        for value in values:
            if value is not None and not isinstance(value, tuple):
                value = (value, value, value)
            whole.append(value)
        if any(value is not None for value in whole):
            self.series.append((name, whole))

    def y(self, value, top):
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)

    def axes(self, marks, top):
        parts = []
        for mark in marks:
            y = self.y(mark, top)
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
                         f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(mark)}'
                         '</text>')
        slot = (WIDTH - LEFT) / len(self.places)
        for index, place in enumerate(self.places):
            x = LEFT + slot * (index + .5)
            for row, word in enumerate(str(place).split("\n")):
                parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16 + 14 * row}" '
                             f'text-anchor="middle">{html.escape(word)}</text>')
        return parts

    def drawn(self):
        top = max(value[2] for _, values in self.series for value in values if value)
        marks = ticks(top)
        top = marks[-1]
        parts = self.axes(marks, top)
        slot = (WIDTH - LEFT) / len(self.places)
        width = .8 * slot / len(self.series)
        for number_, (name, values) in enumerate(self.series):
            colour = COLOURS[number_ % len(COLOURS)]
            points = []
            for index, value in enumerate(values):
                if value is None:
                    continue
                median, low, high = value
                x = LEFT + slot * (index + .5)
                if not self.lines:
                    x += width * (number_ - (len(self.series) - 1) / 2)
                    y = self.y(median, top)
                    parts.append(f'<rect x="{x - .46 * width:.1f}" y="{y:.1f}" '
                                 f'width="{.92 * width:.1f}" height="{self.y(0, top) - y:.1f}" '
                                 f'fill="{colour}"><title>{html.escape(name)}: {number(median)} '
                                 f'[{number(low)}, {number(high)}]</title></rect>')
                else:
                    points.append(f"{x:.1f},{self.y(median, top):.1f}")
                    parts.append(f'<circle cx="{x:.1f}" cy="{self.y(median, top):.1f}" r="3.5" '
                                 f'fill="{colour}"><title>{html.escape(name)}: {number(median)} '
                                 f'[{number(low)}, {number(high)}]</title></circle>')
                if low != high:
                    parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{self.y(low, top):.1f}" '
                                 f'y2="{self.y(high, top):.1f}" stroke="#222"/>')
            if points:
                parts.append(f'<polyline points="{" ".join(points)}" fill="none" '
                             f'stroke="{colour}" stroke-width="2"/>')
        key = "".join(f'<i style="background:{COLOURS[i % len(COLOURS)]}"></i>{html.escape(name)}'
                      for i, (name, _) in enumerate(self.series))
        return (f"<h2>{html.escape(self.title)}</h2><p>{html.escape(self.question)}</p>"
                f'<p class="key"><small>[{html.escape(self.unit)}]</small>{key}</p>'
                f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>')


def of(spread):
    return None if spread is None else (spread["median"], spread["min"], spread["max"])


def io_plots(data):
    io = data.get("io")
    if not io:
        return
    results = io["results"]
    places = [r["pattern"] for r in results]
    block = f"{results[0]['block_size'] >> 10} KiB x {results[0]['queue_depth']}"
    plot = Plot("What the path gives", f"spillway bench io, {block}, ours and fio in turn on the "
                "same files.", "GB/s; bars: median, lines: range", places)
    plot.add("spillway", [of(r["gbps"]) for r in results])
    plot.add("fio, huge pages", [of(r["ceiling_gbps"]) for r in results])
    plot.add("fio, 4 KiB pages", [of(r["fio_small_pages_gbps"]) for r in results])
    yield plot
    shares = Plot("The share of fio's rate", "Round by round, so that the disk's moods cancel; fio "
                  "over itself is how well that is known.", "share; lines: range", places)
    shares.add("spillway / fio", [of(r["share_of_ceiling"]) for r in results])
    shares.add("fio / fio", [of(r["control"]) for r in results])
    yield shares


def step_plots(data):
    flags = data.get("step_flags")
    matched = data.get("step_matched")
    for steps, title in ((flags, "A step, however it is pipelined"),
                         (matched, "The same with as much to compute as to move")):
        if not steps:
            continue
        results = steps["results"]
        plot = Plot(title, f"{steps['model']}, AdamW {steps['repeat']} times over: seconds of a "
                    "step beside the larger of disk and compute (bound), and beside their sum "
                    "(one after the other).",
                    "s; bars: median, lines: range", [r["flags"] for r in results])
        plot.add("step", [of(r["step_seconds"]) for r in results])
        plot.add("bound", [of(r["bound_seconds"]) for r in results])
        plot.add("sum", [of(r["unpipelined_seconds"]) for r in results])
        yield plot
    if flags:
        results = flags["results"]
        stalls = Plot("Where a step's time goes", "Waiting and computing, as shares of the step.",
                      "%", [r["flags"] for r in results])
        for key, name in (("stall_read_seconds", "waiting for reads"),
                          ("stall_write_seconds", "for writes"),
                          ("stall_buffer_seconds", "for a buffer"),
                          ("compute_seconds", "computing")):
            stalls.add(name, [100 * r[key]["median"] / r["step_seconds"]["median"] if r[key]
                              else None for r in results])
        yield stalls
    ratio = data.get("step_ratio")
    if ratio:
        results = sorted(ratio["results"], key=lambda r: r["ratio"])
        plot = Plot("Part of the state in memory",
                    "The share that is offloaded, and what that leaves of the whole step's time "
                    "and bytes.", "share of ratio 1", [number(r["ratio"]) for r in results],
                    lines=True)
        whole = results[-1]

        def share(key):
            return [r[key]["median"] / whole[key]["median"] for r in results]
        plot.add("time", share("step_seconds"))
        plot.add("bytes read", share("bytes_read"))
        plot.add("the ratio itself", [r["ratio"] / whole["ratio"] for r in results])
        yield plot
    buffers = data.get("step_buffers")
    if buffers:
        results = buffers["results"]
        tiles = sorted({r["tile_bytes"] for r in results})
        counts = sorted({r["buffers"] for r in results})
        plot = Plot("Size and number of tiles", "Steps without compute; bound: the paths' mixed "
                    "rate in the same round.", "times the bound",
                    [f"{tile >> 10} KiB" for tile in tiles])
        for count in counts:
            plot.add(f"{count} buffers", [next((of(r["times_bound"]) for r in results if
                                               (r["tile_bytes"], r["buffers"]) == (tile, count)),
                                              None) for tile in tiles])
        yield plot
    engines = data.get("step_engines")
    if engines:
        plot = Plot("io_uring and threads", "The same step through either engine.", "GB/s",
                    [r["engine"] for r in engines["results"]])
        plot.add("step", [of(r["gbps"]) for r in engines["results"]])
        plot.add("ceiling", [of(r["ceiling_gbps"]) for r in engines["results"]])
        yield plot


def peer_plot(data):
    peers = data.get("peers")
    if peers:
        def spread(value):
            return value["median"], value["low"], value["high"]
        results = peers["results"]
        plot = Plot("The same swap step by others",
                    f"{peers['state_bytes'] / 2**30:.2f} GiB of state, {peers['buffers']} tiles of "
                    f"{peers['tile_bytes'] / 2**20:.1f} MiB in memory, no compute, in turn.",
                    "GB/s; lines: 95 % of the median, or the range", [r["peer"].replace(", ", "\n")
                                                                       for r in results])
        plot.add("rate", [spread(r["gbps"]) for r in results])
        yield plot


def benchmarks(data, name):
    return [run for run in data.get(name, {}).get("benchmarks", [])
            if run.get("run_type", "iteration") == "iteration" and not run.get("error_occurred")]


def google_plots(data):
    runs = benchmarks(data, "bench_adamw")
    if runs:
        def place(run):  # "AdamW/avx2/in_memory/threads:1/real_time"
            parts = run["name"].split("/")
            return [part for part in parts if part.startswith("in_") or "threads:" in part]
        places = []
        for run in runs:
            if place(run) not in places:
                places.append(place(run))
        plot = Plot("The AdamW kernel", "Against reading and writing the same 24 bytes.",
                    "ns per parameter", ["\n".join(p).replace("threads:", "threads ")
                                         for p in places])
        names = []
        for run in runs:
            parts = run["name"].split("/")
            name = parts[1] if parts[0] == "AdamW" else "ceiling"
            if name not in names:
                names.append(name)
        for name in names:
            plot.add(name, [next((1e9 * run["time_per_param"] for run in runs if place(run) == p and
                                  (f"/{name}/" in run["name"] or
                                   (name == "ceiling" and run["name"].startswith("Ceiling")))),
                                 None) for p in places])
        yield plot
    runs = benchmarks(data, "bench_block_size")
    sweep = [run for run in runs if run["name"].startswith("Mixed/")]
    if sweep:
        def argument(run, key):
            return int(run["name"].split(key + ":")[1].split("/")[0])
        blocks = sorted({argument(run, "block_kib") for run in sweep})
        plot = Plot("Block size and depth", "Half reads, half writes through the engine; fio with "
                    "1 MiB blocks, eight deep, beside it.", "GB/s", [f"{b} KiB" for b in blocks],
                    lines=True)
        for depth in sorted({argument(run, "depth") for run in sweep}):
            plot.add(f"depth {depth}", [next((run["bytes_per_second"] / 1e9 for run in sweep if
                                              (argument(run, "block_kib"), argument(run, "depth"))
                                              == (block, depth)), None) for block in blocks])
        fio = [run["bytes_per_second"] / 1e9 for run in runs if "CeilingFio" in run["name"]]
        if fio:
            plot.add("fio", [fio[0]] * len(blocks))
        yield plot


def machine_rows(data):
    for name in ("step_flags", "peers"):
        machine = data.get(name, {}).get("machine")
        if isinstance(machine, dict):
            rows = [(key.replace("_", " "), value) for key, value in machine.items()
                    if isinstance(value, (str, int)) and value != "" and "available" not in key]
            for path in machine.get("paths", []):
                device = path.get("device") or {}
                # Where it lies, not what the directory is called.
                rows.append(("path", f"{path['file_system']} on {path['mount_source']}, "
                             f"{path['mount_options']}; {device.get('model') or 'no model told'}"))
            return rows
        if machine:
            return [("machine", machine), ("place", data[name].get("place", ""))]
    return []


def doubts(data):
    found = []
    for part in data.values():
        for doubt in list(part.get("doubts") or []) + list(part.get("warnings") or []):
            if doubt not in found:
                found.append(doubt)
    return found


def page(data, command):
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    rows = "".join(f"<tr><th>{html.escape(str(key))}</th><td>{html.escape(str(value))}</td></tr>"
                   for key, value in machine_rows(data))
    notes = "".join(f'<p class="doubt">Doubtful: {html.escape(doubt)}.</p>'
                    for doubt in doubts(data))
    plots = [plot for source in (io_plots, step_plots, peer_plot, google_plots) for plot in source(data)]
    body = "".join(plot.drawn() for plot in plots if plot.series)
    return (f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Spillway: results</title>'
            f"<style>{STYLE}</style><h1>Spillway: what was measured</h1>"
            f"<p>{now}, by <code>{html.escape(command)}</code></p><table>{rows}</table>{notes}"
            f"<p><small>Everything here comes from that one run. Disks change their speed from "
            f"minute to minute: compare within a plot.</small></p>{body}</html>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--page", required=True)
    parser.add_argument("--command", default="bench/run.sh")
    options = parser.parse_args()
    data = {}
    for name in sorted(os.listdir(options.data)):
        if name.endswith(".json"):
            with open(os.path.join(options.data, name)) as file:
                data[name[:-len(".json")]] = json.load(file)
    with open(options.page, "w") as file:
        file.write(page(data, options.command))


if __name__ == "__main__":
    main()
