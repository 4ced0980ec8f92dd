#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "config/reading.h"

namespace spillway::config {
namespace {

// Keys that only a ds_config has at its top.
constexpr std::array<std::string_view, 12> deepspeed_keys{"train_batch_size",
                                                          "train_micro_batch_size_per_gpu",
                                                          "gradient_accumulation_steps",
                                                          "gradient_clipping",
                                                          "optimizer",
                                                          "scheduler",
                                                          "fp16",
                                                          "bf16",
                                                          "amp",
                                                          "steps_per_print",
                                                          "wall_clock_breakdown",
                                                          "activation_checkpointing"};

bool always(std::string_view) { return true; }

}  // namespace

void read_native(const JsonValue& root, Reading& reading) {
  bool told_deepspeed = false;
  for (const JsonValue* member : unique_members(root, "", always, reading)) {
    const std::string& key = member->key;
    const std::string at = path_name(key);
    if (key == "offload_param" || key == "offload_optimizer" || key == "io") {
      read_section(*member, at, key, reading);
    } else if (key == "aio") {
      reading.problems.add(
          at,
          "is DeepSpeed's name; without zero_optimization write \"io\" with block_size, "
          "queue_depth and threads");
    } else if (std::find(deepspeed_keys.begin(), deepspeed_keys.end(), key) !=
               deepspeed_keys.end()) {
      // One line says it for all of them.
      if (!told_deepspeed)
        reading.problems.add(at,
                             "is DeepSpeed's, but a ds_config is recognised by its "
                             "zero_optimization object, which is missing");
      told_deepspeed = true;
    } else if (!tell_misplaced(key, at, reading)) {
      tell_unknown(key, at, "", {"offload_param", "offload_optimizer", "io", "zero_optimization"},
                   reading);
    }
  }
}

}  // namespace spillway::config
