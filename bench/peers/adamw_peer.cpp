// Spillway with work to do: AdamW on every tile, as `spillway demo` computes it, and bit for bit
// what the same steps give in memory.
#include <fmt/core.h>

#include "base/throw.h"
#include "in_memory_run.h"
#include "offloaded_run.h"
#include "spillway_setting.h"

namespace spillway::bench {
namespace {

demo::Model one_tensor(const StepShape& shape) {
  return {.name = "state",
          .layers = 1,
          .whole_layers = 1,
          .tensors = {{.name = "state", .elements = shape.state_bytes / 12}}};
}

Config with_ratio(Config config, double ratio) {
  config.offload_optimizer.ratio = ratio;
  return config;
}

class AdamwPeer final : public Peer {
 public:
  AdamwPeer(const StepShape& shape, double ratio, int threads)
      : model_(one_tensor(shape)),
        threads_(threads),
        run_(model_, with_ratio(config_of(shape, true), ratio), seed, threads_) {
    run_.set_up([](std::int64_t) {});
  }

  std::string name() const override { return "spillway-adamw"; }
  std::string setting() const override {
    return fmt::format("{}; AdamW ({}) on {} threads",
                       setting_of(run_.context().stats(), run_.stats()), demo::best_kernel().name,
                       threads_.threads());
  }
  void step() override {
    run_.step(++steps_, [](std::int64_t) {});
  }

  void check(int steps) override {
    demo::InMemoryRun memory(model_, seed, threads_);
    for (int i = 1; i <= steps; ++i) memory.step(i);
    if (const auto wrong =
            demo::first_difference(model_, memory.hashes(), run_.hashes([](std::int64_t) {})))
      throw_error(Errc::corrupt, "{} differs from that of the same steps in memory", wrong->state);
  }

 private:
  static constexpr std::uint64_t seed = 1;
  const demo::Model model_;
  demo::ComputeThreads threads_;
  demo::OffloadedRun run_;
  int steps_ = 0;
};

}  // namespace

std::unique_ptr<Peer> make_adamw_peer(const StepShape& shape, double ratio, int threads) {
  return std::make_unique<AdamwPeer>(shape, ratio, threads);
}

}  // namespace spillway::bench
