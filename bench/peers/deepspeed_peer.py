#!/usr/bin/env python3
"""DeepSpeed's optimizer swapper and CPU Adam, one step at a time.

    deepspeed_peer.py --directory DIR --state-bytes N [--pipelined] [--gradients memory|nvme]

Says a line of JSON when all is there, then one for each line "step" on standard input, as
`swap_peers --serve` does; alternate.py lets them take turns. What is called is what DeepSpeed's
stage 3 calls for every sub-group of a step: swap in, CPU Adam, swap out.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from types import SimpleNamespace


def peak_rss_bytes():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", default=".")
    parser.add_argument("--state-bytes", type=int, required=True, help="of three fp32 states")
    parser.add_argument("--sub-groups", type=int, default=8, help="of the parameters, stepped in turn")
    parser.add_argument("--pipelined", action="store_true", help="pipeline_read and pipeline_write")
    parser.add_argument("--threads", type=int, default=0, help="of CPU Adam; 0: all")
    parser.add_argument("--gradients", choices=["memory", "nvme"], default="memory",
                        help="memory: handed over in memory, which spares DeepSpeed their reading")
    options = parser.parse_args()

    # Its log goes to standard output; the protocol keeps that for itself.
    protocol = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    if options.threads > 0:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    try:
        import torch
        import deepspeed
        from deepspeed.ops.adam import DeepSpeedCPUAdam
        from deepspeed.runtime.swap_tensor.aio_config import AIO_DEFAULT_DICT
        from deepspeed.runtime.swap_tensor.partitioned_optimizer_swapper import \
            PartitionedOptimizerSwapper
        from deepspeed.runtime.swap_tensor.pipelined_optimizer_swapper import \
            PipelinedOptimizerSwapper
    except Exception as error:  # whatever keeps it from being imported is the answer
        print(json.dumps({"unavailable": f"{type(error).__name__}: {error}"}), file=protocol)
        return 0
    if options.threads > 0:
        torch.set_num_threads(options.threads)

    # Absolute: a part of an address below.
    folder = tempfile.mkdtemp(prefix="deepspeed-", dir=os.path.abspath(options.directory))
    try:
        return serve(options, protocol, folder, torch, deepspeed, DeepSpeedCPUAdam,
                     PipelinedOptimizerSwapper if options.pipelined else
                     PartitionedOptimizerSwapper, dict(AIO_DEFAULT_DICT))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def serve(options, protocol, folder, torch, deepspeed, adam_type, swapper_type, aio):
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False, rank=0, world_size=1,
                               init_method=f"file://{folder}/rendezvous", verbose=False)
    groups = options.sub_groups
    elements = options.state_bytes // 12 // groups
    parameters = []
    for index in range(groups):
        parameter = torch.nn.Parameter(torch.zeros(0))
        parameter.ds_id = str(index)
        parameters.append(parameter)
    optimizer = adam_type([{"params": parameters}], lr=1e-3, weight_decay=0.01, adamw_mode=True)
    # Four buffers hold a sub-group with its gradient; three sub-groups are there when pipelined.
    config = SimpleNamespace(buffer_count=12 if options.pipelined else 4,
                             pipeline_read=options.pipelined, pipeline_write=options.pipelined)
    swapper = swapper_type(swap_config=config, aio_config=aio, base_folder=folder,
                           optimizer=optimizer, largest_numel=elements, device="cpu",
                           dtype=torch.float32, timers=None)
    generator = torch.Generator().manual_seed(1)
    for parameter in parameters:
        first = (torch.rand(elements, generator=generator) - 0.5) * 0.04
        swapper.initialize_parameters(parameters=[parameter], src_tensors=[first])
        del first
    # One gradient for every sub-group, and for every step: less memory than DeepSpeed would need.
    gradient = (torch.rand(elements, generator=generator) - 0.5) * 0.02

    def hand_over_gradients():
        for parameter in parameters:
            if options.gradients == "nvme":
                swapper.swap_out_gradients(parameter=parameter, gradient_offsets=[0],
                                           gradient_tensors=[gradient])
            else:
                swapper.swap_params_info[parameter.ds_id].unswapped_gradients = {0: gradient}
        if options.gradients == "nvme":
            swapper.flush_gradients()

    def step():
        for index, parameter in enumerate(parameters):
            following = parameters[index + 1] if index + 1 < groups else None
            swapper.swap_in_optimizer_state(parameter, following)
            optimizer.param_groups[0]["params"] = [parameter]
            optimizer.step()
            optimizer.param_groups[0]["params"] = []
            swapper.swap_out_optimizer_state(parameter, following is not None)
            parameter.grad = None

    def one_sum():  # of the first sub-group's masters, to see that a step has changed them
        swapper.swap_in_optimizer_state(parameters[0], None)
        value = parameters[0].data.double().abs().sum().item()
        swapper.release_swap_buffers(parameters[0])
        return value

    hand_over_gradients()
    step()  # makes the states
    setting = (f"deepspeed {deepspeed.__version__}, torch {torch.__version__}, {groups} sub-groups, "
               f"{config.buffer_count} buffers of {elements * 4 >> 20} MiB, gradients in "
               f"{options.gradients}, {torch.get_num_threads()} threads, aio {aio}")
    print(json.dumps({"peer": "deepspeed-pipelined" if options.pipelined else "deepspeed",
                      "setting": setting, "state_bytes": elements * groups * 12,
                      "peak_rss_bytes": peak_rss_bytes()}), file=protocol)
    steps = 0
    for line in sys.stdin:
        if line.strip() != "step":
            raise SystemExit(f"deepspeed_peer: {line!r} is not \"step\"")
        begin = time.perf_counter()
        hand_over_gradients()
        handed_over = time.perf_counter()
        processor = time.process_time()
        step()
        steps += 1
        print(json.dumps({"seconds": time.perf_counter() - handed_over,
                          "gradient_seconds": handed_over - begin,
                          "cpu_seconds": time.process_time() - processor,
                          "peak_rss_bytes": peak_rss_bytes()}), file=protocol)
    hand_over_gradients()
    before = one_sum()
    hand_over_gradients()
    step()
    print(json.dumps({"checked": one_sum() != before, "steps": steps}), file=protocol)
    return 0


if __name__ == "__main__":
    sys.exit(main())
