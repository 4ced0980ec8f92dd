// A program as a user writes it: nothing but the installed headers and library.
#include <spillway/spillway.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace {

// An error must be caught by its type across the border of a shared library.
bool refuses(std::string_view text) {
  try {
    spillway::parse_config(text);
  } catch (const spillway::Error& error) {
    std::printf("%s: %s\n", std::string(spillway::to_string(error.code())).c_str(), error.what());
    return error.code() == spillway::Errc::invalid_config;
  }
  return false;
}

// Three steps over state under the current directory; true if every value is as it should be.
bool steps() {
  using namespace spillway;
  Config config;
  config.offload_optimizer.device = OffloadDevice::nvme;
  config.offload_optimizer.nvme_path = {"."};
  config.offload_optimizer.buffer_size = 256 * 1024;
  config.offload_optimizer.pipeline_read = config.offload_optimizer.pipeline_write = true;
  Context context(config);
  OptimizerSwapper swapper(context, {.states = {{"weight"}, {"count", DType::u8}}});
  const ParamId id = swapper.add("layer", 100'003, {.tag = 7});
  for (int step = 1; step <= 3; ++step) {
    Run run = swapper.begin({.step = step, .units = {default_unit}});
    while (auto tile = run.next()) {
      for (const Slice& slice : tile->slices()) {
        for (float& weight : slice.of<float>("weight")) weight += 0.5f;
        for (std::uint8_t& count : slice.of<std::uint8_t>("count")) ++count;
      }
      tile->commit();
    }
  }
  std::vector<float> weights(100'003);
  swapper.read_state<float>(id, "weight", 0, weights);
  for (const float weight : weights)
    if (weight != 1.5f) return false;
  return swapper.stats().bytes_written > 0;
}

}  // namespace

int main() {
  if (!steps()) return 2;
  int messages = 0;
  spillway::set_log_level(spillway::LogLevel::warning);
  spillway::set_log_sink([&](spillway::LogLevel, std::string_view) { ++messages; });

  const spillway::Config config =
      spillway::parse_config(R"({"offload_optimizer": {"device": "cpu", "ratio": 0.5}})");
  const bool same = spillway::parse_config(spillway::to_json(config)) == config;
  spillway::set_log_sink({});
  return same && config.offload_optimizer.ratio == 0.5 &&
                 refuses(R"({"offload_optimizer": {"ratio": 1.5}})") && messages == 0
             ? 0
             : 1;
}
