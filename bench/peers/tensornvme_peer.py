#!/usr/bin/env python3
"""TensorNVMe's DiskOffloader and torch's fused CPU AdamW, one step at a time.

    tensornvme_peer.py --directory DIR --state-bytes N [--backend uring|aio]

Says a line of JSON when all is there, then one for each line "step" on standard input, as
deepspeed_peer.py does. A step goes through the sub-groups as TensorNVMe's README shows it: the next
one is read and the last one written while one is computed. It moves bytes through the page cache,
so a step ends when they are on the disk (fsync), and the cache is emptied between steps: otherwise
memory would be compared with a disk.
"""
import argparse
import glob
import json
import os
import shutil
import sys
import tempfile
import time

from deepspeed_peer import peak_rss_bytes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", default=".")
    parser.add_argument("--state-bytes", type=int, required=True, help="of three fp32 states")
    parser.add_argument("--sub-groups", type=int, default=8, help="of the parameters, stepped in turn")
    parser.add_argument("--backend", default="uring")
    parser.add_argument("--threads", type=int, default=0, help="of AdamW; 0: all")
    options = parser.parse_args()

    protocol = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        import torch
        from tensornvme import DiskOffloader
    except Exception as error:  # whatever keeps it from being imported is the answer
        print(json.dumps({"unavailable": f"{type(error).__name__}: {error}"}), file=protocol)
        return 0
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    folder = tempfile.mkdtemp(prefix="tensornvme-", dir=options.directory)
    try:
        return serve(options, protocol, folder, torch, DiskOffloader)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def serve(options, protocol, folder, torch, offloader_type):
    offloader = offloader_type(folder, n_entries=16, backend=options.backend)
    groups = options.sub_groups
    elements = options.state_bytes // 12 // groups
    generator = torch.Generator().manual_seed(1)
    gradient = (torch.rand(elements, generator=generator) - 0.5) * 0.02

    class Group:
        def __init__(self):
            self.master = torch.nn.Parameter(
                (torch.rand(elements, generator=generator) - 0.5) * 0.04)
            self.optimizer = torch.optim.AdamW([self.master], lr=1e-3, weight_decay=0.01,
                                               fused=True)
            self.step()  # makes the moments

        def step(self):
            self.master.grad = gradient
            self.optimizer.step()
            self.master.grad = None

        def tensors(self):
            state = self.optimizer.state[self.master]
            return [self.master.data, state["exp_avg"], state["exp_avg_sq"]]

    # The same objects for ever: it knows a tensor by its address in Python.
    parts, kept = [], []
    for _ in range(groups):
        parts.append(Group())
        kept.append(parts[-1].tensors())
        for tensor in kept[-1]:
            offloader.sync_write(tensor)
    descriptor = os.open(glob.glob(f"{folder}/offload-*")[0], os.O_RDONLY)

    def read(index):
        for tensor in kept[index]:
            offloader.async_read(tensor)

    def step():
        read(0)
        for index, part in enumerate(parts):
            # Both ways: sync_read_events() of 0.1.0 waits for writes only.
            offloader.synchronize()
            if index + 1 < groups:
                read(index + 1)
            part.step()
            for tensor in kept[index]:
                offloader.async_write(tensor)
        offloader.synchronize()
        os.fsync(descriptor)

    def empty_cache():
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def one_sum():
        read(0)
        offloader.synchronize()
        value = kept[0][0].double().abs().sum().item()
        for tensor in kept[0]:
            offloader.sync_write(tensor)
        return value

    setting = (f"tensornvme 0.1.0, {options.backend}, torch {torch.__version__}, {groups} sub-groups, "
               f"{torch.get_num_threads()} threads, through the page cache, with fsync")
    empty_cache()
    print(json.dumps({"peer": "tensornvme", "setting": setting,
                      "state_bytes": elements * groups * 12,
                      "peak_rss_bytes": peak_rss_bytes()}), file=protocol)
    steps = 0
    for line in sys.stdin:
        if line.strip() != "step":
            raise SystemExit(f"tensornvme_peer: {line!r} is not \"step\"")
        processor = time.process_time()
        begin = time.perf_counter()
        step()
        seconds = time.perf_counter() - begin
        empty_cache()
        steps += 1
        print(json.dumps({"seconds": seconds, "cpu_seconds": time.process_time() - processor,
                          "peak_rss_bytes": peak_rss_bytes()}), file=protocol)
    before = one_sum()
    step()
    print(json.dumps({"checked": one_sum() != before, "steps": steps}), file=protocol)
    return 0


if __name__ == "__main__":
    sys.exit(main())
