// The program of the README: an optimizer whose state lives under the current directory.
#include <spillway/spillway.h>

#include <cstddef>

// The engine's own: the gradient of one element.
static float gradient(spillway::ParamId, std::int64_t element) {
  return static_cast<float>(element % 7) - 3.0f;
}

int main() {
  using namespace spillway;
  Context context(parse_config(R"({"offload_optimizer": {"device": "nvme", "nvme_path": ".",
                                   "pipeline_read": true, "pipeline_write": true}})"));
  OptimizerSwapper sgd(context, {.states = {{"weight"}, {"momentum"}}});
  sgd.add("layer.0", 10'000'000);
  for (int step = 1; step <= 3; ++step)
    sgd.step(step, [](const Slice& slice) {
      auto weight = slice.of<float>("weight"), momentum = slice.of<float>("momentum");
      for (std::size_t i = 0; i < weight.size(); ++i) {
        momentum[i] = 0.9f * momentum[i] + gradient(slice.param, slice.offset + std::int64_t(i));
        weight[i] -= 0.1f * momentum[i];
      }
    });
}
