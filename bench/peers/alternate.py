#!/usr/bin/env python3
"""Spillway, DeepSpeed and TensorNVMe on the same state, step by step in turn.

    alternate.py --swap-peers build/release/bench/peers/swap_peers --python VENV/bin/python \\
                 --directory /mnt/nvme --state-size 3GiB --rounds 9 [--json FILE]

The same optimizer state (three fp32 states), AdamW, the same disk, one run. Every one is a process
of its own, and each does a step in every round; who is first moves on from round to round. Printed
are medians with their range, and for everybody how many times as long as Spillway's step it took,
from the steps of the same round.

  spillway             64 MiB of buffers, nothing else in memory
  spillway-resident    with as much of the state in memory as makes its peak RSS DeepSpeed's
  deepspeed            its swapper and CPU Adam with the defaults
  deepspeed-pipelined  the same with pipeline_read and pipeline_write
  tensornvme           its offloader, pipelined, and torch's fused CPU AdamW

What cannot be imported is left out, and the output says so; without any of them it says "SKIPPED:
...", and the status is 0. Standard library only; `--python` names the interpreter that has them.
"""
import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
POOL_BYTES = 64 * MIB


class Peer:
    """A process that does a step when it is told to."""

    def __init__(self, name, command):
        self.name = name
        self.command = command
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.about = self.read()
        self.samples = []

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.command)}: ended with {self.process.wait()}")
        return json.loads(line)

    def step(self):
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self.read()

    def finish(self):
        self.process.stdin.close()
        last = self.read()
        if self.process.wait() != 0 or not last.get("checked"):
            raise RuntimeError(f"{' '.join(self.command)}: {last}")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def bytes_of(text):
    match = re.fullmatch(r"(\d+)(B|KiB|MiB|GiB)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text}: a number, with KiB, MiB or GiB if you like")
    return int(match[1]) << {"KiB": 10, "MiB": 20, "GiB": 30}.get(match[2], 0)


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def processor():
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def spillway_command(options, ratio):
    tile = 4032 * 1024  # a multiple of 48 KiB
    return [options.swap_peers, "--serve", "spillway-adamw", "--directory", options.directory,
            "--state-size", str(options.state_bytes), "--tile-size", str(tile),
            "--buffers", str(POOL_BYTES // tile), "--threads", str(options.threads),
            "--ratio", f"{ratio:.4f}"]


def deepspeed_command(options, pipelined):
    return [options.python, os.path.join(HERE, "deepspeed_peer.py"), "--directory",
            options.directory, "--state-bytes", str(options.state_bytes), "--sub-groups",
            str(options.sub_groups), "--threads", str(options.threads), "--gradients",
            options.gradients] + (["--pipelined"] if pipelined else [])


def tensornvme_command(options):
    return [options.python, os.path.join(HERE, "tensornvme_peer.py"), "--directory",
            options.directory, "--state-bytes", str(options.state_bytes), "--sub-groups",
            str(options.sub_groups), "--threads", str(options.threads)]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swap-peers", default="build/release/bench/peers/swap_peers")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--directory", default=".")
    parser.add_argument("--state-size", dest="state_bytes", type=bytes_of, default="3GiB")
    parser.add_argument("--sub-groups", type=int, default=8)
    parser.add_argument("--gradients", choices=["memory", "nvme"], default="memory")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json")
    options = parser.parse_args()

    peers, missing = [], []

    def start(name, command):
        peer = Peer(name, command)
        peers.append(peer)
        if "unavailable" not in peer.about:
            return peer
        missing.append(f"{name}: not there ({peer.about['unavailable']})")
        return None

    try:
        plain = start("deepspeed", deepspeed_command(options, False))
        others = [plain, plain and start("deepspeed-pipelined", deepspeed_command(options, True)),
                  start("tensornvme", tensornvme_command(options))]
        others = [peer for peer in others if peer]
        for line in missing:
            print(line)
        if not others:
            print(f"SKIPPED: {options.python} has none of them; README.md beside this says how to "
                  "get them")
            return 0
        own = start("spillway", spillway_command(options, 1))
        # What DeepSpeed's process takes when it is not pipelined is the smaller of its two needs.
        like = others[0]
        spare = like.about["peak_rss_bytes"] - own.step()["peak_rss_bytes"]
        ratio = min(1.0, max(0.0, 1 - spare / options.state_bytes))
        resident = start("spillway-resident", spillway_command(options, ratio))
        order = [own, resident] + others
        for peer in order:
            peer.step()  # warm-up
        for number in range(options.rounds):
            for at in range(len(order)):
                peer = order[(number + at) % len(order)]
                peer.samples.append(peer.step())
        for peer in order:
            peer.finish()
    finally:
        for peer in peers:
            peer.kill()

    result = {"date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
              "machine": f"{processor()}, {os.cpu_count()} processors, {platform.release()}",
              "command": " ".join(sys.argv), "rounds": options.rounds,
              "state_bytes": options.state_bytes, "resident_ratio": ratio, "results": []}
    print(f"{result['machine']}\n{options.state_bytes / 2**30:.2f} GiB of state, "
          f"{options.rounds} rounds; medians [min, max]")
    for peer in order:
        seconds = [sample["seconds"] for sample in peer.samples]
        times = [s["seconds"] / ours["seconds"] for s, ours in zip(peer.samples, own.samples)]
        entry = {"peer": peer.name, "setting": peer.about["setting"],
                 "step_seconds": spread(seconds), "times_spillway": spread(times),
                 "cpu_seconds": spread([sample["cpu_seconds"] for sample in peer.samples]),
                 "peak_rss_bytes": peer.samples[-1]["peak_rss_bytes"]}
        if "gradient_seconds" in peer.samples[0]:
            entry["gradient_seconds"] = spread([s["gradient_seconds"] for s in peer.samples])
        result["results"].append(entry)
        step, times = entry["step_seconds"], entry["times_spillway"]
        print(f"  {entry['peer']:<20}{step['median']:.3f} s [{step['min']:.3f}, {step['max']:.3f}], "
              f"{times['median']:.2f} x spillway [{times['min']:.2f}, {times['max']:.2f}], peak RSS "
              f"{entry['peak_rss_bytes'] / 2**20:.0f} MiB; {entry['setting']}")
    result["times_resident"] = {}
    for peer in others:
        times = spread([theirs["seconds"] / ours["seconds"]
                        for theirs, ours in zip(peer.samples, resident.samples)])
        result["times_resident"][peer.name] = times
        print(f"  {peer.name} takes {times['median']:.2f} x spillway-resident "
              f"[{times['min']:.2f}, {times['max']:.2f}]")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=2)
            file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
