// Our own optimizer swapper with three fp32 states and no compute.
#include <spillway/spillway.h>

#include <algorithm>

#include "base/throw.h"
#include "spillway_setting.h"

namespace spillway::bench {
namespace {

constexpr const char* states[] = {"master", "exp_avg", "exp_avg_sq"};

class SpillwayPeer final : public Peer {
 public:
  SpillwayPeer(const StepShape& shape, bool checksums)
      : checksums_(checksums),
        context_(config_of(shape, checksums)),
        swapper_(context_, {.states = {{states[0]}, {states[1]}, {states[2]}},
                            .tile_bytes = tile_bytes(shape, checksums)}) {
    param_ = swapper_.add("state", shape.state_bytes / 12);
    swapper_.seal();  // writes everything once
  }

  std::string name() const override { return checksums_ ? "spillway" : "spillway, no checksums"; }
  std::string setting() const override { return setting_of(context_.stats(), swapper_.stats()); }

  void step() override {
    swapper_.step(++steps_, [](const Slice& slice) {
      for (const char* const state : states) {
        const std::span<float> values = slice.of<float>(state);
        touch(reinterpret_cast<std::byte*>(values.data()),
              static_cast<std::int64_t>(values.size_bytes()));
      }
    });
  }

  void check(int steps) override {
    std::vector<float> values(1 << 20);
    for (const char* const state : states)
      for (std::int64_t at = 0; at < swapper_.elements(param_);) {
        const auto count = static_cast<std::size_t>(
            std::min<std::int64_t>(std::ssize(values), swapper_.elements(param_) - at));
        swapper_.read_state(param_, state, at, std::span(values).first(count));
        for (std::size_t i = 0; i < count; i += 1024)
          if (values[i] != static_cast<float>(steps))
            throw_error(Errc::corrupt, "element {} of {} does not hold step {}",
                        at + static_cast<std::int64_t>(i), state, steps);
        at += static_cast<std::int64_t>(count);
      }
  }

 private:
  // Without checksums each section has a page more, and the tile must not hold fewer elements.
  static std::int64_t tile_bytes(const StepShape& shape, bool checksums) {
    return shape.tile_bytes + (checksums ? 0 : 3 * 4096);
  }

  bool checksums_;
  Context context_;
  OptimizerSwapper swapper_;
  ParamId param_{};
  std::int64_t steps_ = 0;
};

}  // namespace

std::unique_ptr<Peer> make_spillway_peer(const StepShape& shape, bool checksums) {
  return std::make_unique<SpillwayPeer>(shape, checksums);
}

}  // namespace spillway::bench
