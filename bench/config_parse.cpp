// How long does a config take to read, check and write back? It stands at the start of a job, so
// milliseconds would do.
#include <benchmark/benchmark.h>
#include <spillway/config.h>

#include <string>

#include "spillway/log.h"

namespace spillway {
namespace {

constexpr const char* native = R"({
  "offload_param": {"device": "nvme", "nvme_path": "/tmp", "buffer_count": 5,
                    "buffer_size": "100MiB", "max_in_cpu": 1e9, "pin_memory": true},
  "offload_optimizer": {"device": "nvme", "nvme_path": ["/tmp"], "buffer_count": 4,
                        "pin_memory": true, "pipeline_read": true, "pipeline_write": true,
                        "fast_init": false, "ratio": 0.9},
  "io": {"block_size": "1MiB", "queue_depth": 64}
})";

constexpr const char* deepspeed = R"({
  "train_batch_size": 32, "gradient_clipping": 1.0, "fp16": {"enabled": true},
  "optimizer": {"type": "AdamW", "params": {"lr": 3e-5, "betas": [0.9, 0.999]}},
  "zero_optimization": {
    "stage": 3, "contiguous_gradients": true, "overlap_comm": true,
    "offload_param": {"device": "nvme", "nvme_path": "/tmp", "buffer_count": 5,
                      "buffer_size": 1e8, "max_in_cpu": 1e9, "pin_memory": true},
    "offload_optimizer": {"device": "nvme", "nvme_path": "/tmp", "buffer_count": 4,
                          "pipeline_read": true, "pipeline_write": true, "fast_init": false}},
  "aio": {"block_size": 1048576, "queue_depth": 32, "single_submit": false,
          "overlap_events": true}
})";

void parse(benchmark::State& state, const char* text) {
  set_log_level(LogLevel::off);  // what a file of DeepSpeed's is told is no part of the cost
  for (auto _ : state) benchmark::DoNotOptimize(parse_config(text));
  set_log_level(LogLevel::warning);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK_CAPTURE(parse, native, native)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(parse, deepspeed, deepspeed)->Unit(benchmark::kMicrosecond);

void Write(benchmark::State& state) {
  const Config config = parse_config(native);
  for (auto _ : state) benchmark::DoNotOptimize(to_json(config));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(Write)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace spillway
