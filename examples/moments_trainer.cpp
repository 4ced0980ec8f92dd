// A trainer that keeps parameters and gradients itself, as llm.c does, and offloads only the two
// moments of AdamW: 16 bytes move per parameter and step.
//
// Usage: moments_trainer [DIRECTORY] (default: the current one)
#include <spillway/spillway.h>

#include <cmath>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

namespace {

struct Hyper {
  float lr = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, decay = 0.01f;
};

void adamw(float* param, const float* grad, std::span<float> m, std::span<float> v,
           const Hyper& hyper, int step) {
  const float correct1 = 1 - std::pow(hyper.beta1, static_cast<float>(step));
  const float correct2 = 1 - std::pow(hyper.beta2, static_cast<float>(step));
  for (std::size_t i = 0; i < m.size(); ++i) {
    m[i] = hyper.beta1 * m[i] + (1 - hyper.beta1) * grad[i];
    v[i] = hyper.beta2 * v[i] + (1 - hyper.beta2) * grad[i] * grad[i];
    const float update = m[i] / correct1 / (std::sqrt(v[i] / correct2) + hyper.epsilon);
    param[i] -= hyper.lr * (update + hyper.decay * param[i]);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  using namespace spillway;
  Config config;
  config.offload_optimizer.device = OffloadDevice::nvme;
  config.offload_optimizer.nvme_path = {argc > 1 ? argv[1] : "."};
  config.offload_optimizer.pipeline_read = config.offload_optimizer.pipeline_write = true;
  config.offload_optimizer.fast_init = true;
  Context context(config);

  // Tensors lie one behind the other in the trainer's arrays; the tag says where each starts.
  const std::vector<std::int64_t> sizes{256 * 1000, 256, 256, 768 * 256, 1024 * 256};
  OptimizerSwapper moments(context, {.states = {{"m"}, {"v"}}});
  std::size_t total = 0;
  for (std::size_t i = 0; i < sizes.size(); total += static_cast<std::size_t>(sizes[i++]))
    moments.add("tensor " + std::to_string(i), sizes[i], {.tag = total});
  std::vector<float> params(total, 1.0f), grads(total);

  for (int step = 1; step <= 5; ++step) {
    for (std::size_t i = 0; i < total; ++i) grads[i] = 0.1f * params[i];  // forward and backward
    Run run = moments.begin_step(step);
    while (auto tile = run.next()) {
      for (const Slice& slice : tile->slices()) {
        const std::size_t at = slice.tag + static_cast<std::size_t>(slice.offset);
        adamw(&params[at], &grads[at], slice.of<float>("m"), slice.of<float>("v"), Hyper{}, step);
      }
      tile->commit();
    }
  }
  const OptimizerStats stats = moments.stats();
  std::printf("params[0] = %.6f after 5 steps; %.1f bytes read and %.1f written per parameter\n",
              static_cast<double>(params[0]),
              static_cast<double>(stats.bytes_read) / static_cast<double>(total),
              static_cast<double>(stats.bytes_written) / static_cast<double>(total));
  return 0;
} catch (const spillway::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
