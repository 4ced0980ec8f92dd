// A trainer in mixed precision with nothing of its own in memory: bf16 parameters for forward and
// backward, fetched a layer at a time, and AdamW's fp32 states, both on NVMe. The masters start as
// what the parameters hold, and each step writes the rounded masters back, tile by tile.
//
// Usage: mixed_precision_trainer [DIRECTORY] (default: the current one)
#include <spillway/spillway.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

namespace {

float to_float(spillway::bf16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}
spillway::bf16 to_bf16(float value) {  // to nearest, ties to even; no NaNs here
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return {static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

struct Tensor {
  spillway::ParamId weights{};
  std::vector<float> grad;
};

}  // namespace

int main(int argc, char** argv) try {
  using namespace spillway;
  Config config;
  config.offload_param.device = config.offload_optimizer.device = OffloadDevice::nvme;
  config.offload_param.nvme_path = config.offload_optimizer.nvme_path = {argc > 1 ? argv[1] : "."};
  config.offload_param.buffer_size = 4 << 20;
  config.offload_param.max_in_cpu = 200'000;  // elements: some of the parameters stay in memory
  config.offload_optimizer.pipeline_read = config.offload_optimizer.pipeline_write = true;
  config.offload_optimizer.fast_init = true;
  Context context(config);
  ParameterSwapper lp(context);
  OptimizerSwapper hp(context, {.states = {{"master"}, {"m"}, {"v"}}});

  std::vector<UnitId> layers;
  std::vector<Tensor> tensors;
  for (int l = 0; l < 4; ++l) {
    layers.push_back(lp.add_unit("layer " + std::to_string(l)));
    for (const std::int64_t size : {256 * 1024, 256}) {
      const std::string name = "tensor " + std::to_string(tensors.size());
      const std::vector<bf16> first(static_cast<std::size_t>(size), to_bf16(1.0f));
      Tensor tensor;
      tensor.weights = lp.add(
          name, size, DType::bf16,
          {.unit = layers.back(), .tag = tensors.size(), .init = std::as_bytes(std::span(first))});
      tensor.grad.resize(first.size());
      hp.add(name, size, {.tag = tensors.size(), .from = {{"master", &lp, tensor.weights}}});
      tensors.push_back(std::move(tensor));
    }
  }

  for (int step = 1; step <= 5; ++step) {
    for (std::size_t l = 0; l < layers.size(); ++l) {  // forward and backward
      const Lease layer = lp.fetch(layers[l]);
      if (l + 1 < layers.size()) lp.prefetch(layers[l + 1]);
      for (const View& view : layer.tensors()) {
        const auto w = view.as<const bf16>();
        for (std::size_t i = 0; i < w.size(); ++i)
          tensors[view.tag].grad[i] = 0.1f * to_float(w[i]);
      }
    }
    Run run = hp.begin_step(step);
    while (auto tile = run.next()) {
      for (const Slice& s : tile->slices()) {
        const auto master = s.of<float>("master"), m = s.of<float>("m"), v = s.of<float>("v");
        const float* grad = tensors[s.tag].grad.data() + s.offset;
        Lease out = lp.fetch(tensors[s.tag].weights, Access::overwrite, {s.offset, s.count});
        const auto w = out.as<bf16>();
        for (std::size_t i = 0; i < master.size(); ++i) {
          m[i] = 0.9f * m[i] + 0.1f * grad[i];
          v[i] = 0.99f * v[i] + 0.01f * grad[i] * grad[i];
          master[i] -= 0.01f * m[i] / (std::sqrt(v[i]) + 1e-8f);
          w[i] = to_bf16(master[i]);
        }
        tile->attach(std::move(out));  // visible with the tile, or not at all
      }
      tile->commit();
    }
  }
  const Lease last = lp.fetch(layers.back());
  std::printf("a weight: %.4f after 5 steps; the optimizer moved %.1f MB, the parameters %.1f MB\n",
              static_cast<double>(to_float(last.tensors()[0].as<const bf16>()[0])),
              static_cast<double>(hp.stats().bytes_read + hp.stats().bytes_written) / 1e6,
              static_cast<double>(lp.stats().bytes_read + lp.stats().bytes_written) / 1e6);
  return 0;
} catch (const spillway::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
