#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "io/engine.h"
#include "store/store.h"
#include "store/volume.h"
#include "support/fake_backend.h"
#include "support/swap_fixture.h"
#include "swap/house.h"

namespace spillway::test {

/// What swappers share, over a disk in memory that does what the test tells it. The store keeps its
/// books and its directory under a real path; only the bytes go elsewhere.
class FakeHouse final : public swap::House {
 public:
  /// `alignment`: of the disk, at least.
  FakeHouse(Config config, std::shared_ptr<io::FakeDevice> device, std::int64_t alignment = 4096)
      : config_(std::move(config)),
        alignment_(alignment),
        engine_(std::make_unique<io::FakeBackend>(std::move(device)), engine_options(config_.io)),
        store_(engine_, store_options()) {}
  ~FakeHouse() override { engine_.shutdown(config_.io.shutdown_timeout); }

  const Config& config() const override { return config_; }
  io::Engine& engine() override { return engine_; }
  store::Store& optimizer_store() override { return store_; }
  store::Volume& parameter_volume() override {
    if (!volume_) {
      store::StoreOptions options = store_options();
      if (!config_.offload_param.nvme_path.empty()) options.paths = config_.offload_param.nvme_path;
      volume_ = std::make_unique<store::Volume>(engine_, options);
    }
    return *volume_;
  }
  void admit(const void* owner, const swap::Claim& claim) override {
    {
      const std::lock_guard lock(mutex_);
      claims_[owner] = claim;
    }
    if (const auto call = std::exchange(on_admit, nullptr)) call();
  }
  void withdraw(const void* owner) noexcept override {
    const std::lock_guard lock(mutex_);
    claims_.erase(owner);
  }
  bool forked() const noexcept override { return false; }

  /// Called once, in the middle of the next seal, while the swapper holds its mutex.
  std::function<void()> on_admit;

 private:
  static io::EngineOptions engine_options(const IoConfig& io) {
    io::EngineOptions options;
    options.block_size = io.block_size;
    options.queue_depth = io.queue_depth;
    options.retry_seconds = 0.05;
    options.wait_timeout = io.timeout;
    return options;
  }
  store::StoreOptions store_options() const {
    store::StoreOptions options;
    options.paths = config_.offload_optimizer.nvme_path;
    options.checksums = config_.io.checksums;
    options.alignment = alignment_;
    return options;
  }

  const Config config_;
  const std::int64_t alignment_;
  std::mutex mutex_;
  std::map<const void*, swap::Claim> claims_;
  io::Engine engine_;
  store::Store store_;
  std::unique_ptr<store::Volume> volume_;
};

// A member pointer given to an explicit instantiation may name what is private.
template <auto Member>
struct HouseOfContext {
  friend std::shared_ptr<swap::House>& house_of(Context& context) { return context.*Member; }
};
std::shared_ptr<swap::House>& house_of(Context& context);
template struct HouseOfContext<&Context::house_>;

/// A context that lives in `house`. Only swappers may be made from it.
inline Context context_in(std::shared_ptr<swap::House> house) {
  Context context{Config{}};
  house_of(context) = std::move(house);
  return context;
}

}  // namespace spillway::test
