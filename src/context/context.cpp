#include "spillway/context.h"

#include <mutex>

#include "base/byte_size.h"
#include "base/log.h"
#include "base/throw.h"
#include "context/path_stats.h"
#include "context/plan.h"
#include "io/engine.h"
#include "store/store.h"
#include "store/volume.h"
#include "swap/house.h"
#include "swap/parameters.h"
#include "swap/swapper.h"
#include "sys/process.h"

#include "spillway/optimizer_swapper.h"
#include "spillway/parameter_swapper.h"

namespace spillway {
namespace {

io::EngineOptions engine_options(const IoConfig& io) {
  io::EngineOptions options;
  options.engine = io.engine;
  options.block_size = io.block_size;
  options.queue_depth = io.queue_depth;
  options.read_budget = io.read_budget;
  options.write_budget = io.write_budget;
  options.threads = io.threads;
  options.wait_timeout = io.timeout;
  return options;
}

store::StoreOptions store_options(const std::vector<std::filesystem::path>& paths,
                                  const IoConfig& io) {
  store::StoreOptions options;
  options.paths = paths;
  options.weights = io.path_weights;
  options.stripe_unit = io.stripe_unit;
  options.checksums = io.checksums;
  options.direct = io.direct;
  return options;
}

Latency latency_of(const Histogram& histogram) {
  const auto us = [&](double share) {
    return static_cast<double>(histogram.percentile(share)) / 1e3;
  };
  return {us(0.5), us(0.99), us(1.0)};
}

// The house itself: made by the context, kept alive by every swapper.
class OwnHouse final : public swap::House {
 public:
  OwnHouse(Config config, Rank rank)
      : config_(std::move(config)), plan_(rank.local_world_size), owner_(sys::process_id()) {
    if (rank.local_world_size < 1 || rank.local_rank < 0 ||
        rank.local_rank >= rank.local_world_size)
      throw_error(Errc::invalid_argument, "local_rank {} of local_world_size {} is no rank",
                  rank.local_rank, rank.local_world_size);
    validate(config_);
    check_paths(config_);
    log::info("effective config:\n{}", describe(config_));
    const bool optimizer = config_.offload_optimizer.device == OffloadDevice::nvme;
    const bool parameters = config_.offload_param.device == OffloadDevice::nvme;
    if (!optimizer && !parameters) return;
    engine_ = io::Engine::open(engine_options(config_.io));
    for (const std::string& reason : engine_->report().reasons) log::info("{}", reason);
    if (optimizer)
      store_ = std::make_unique<store::Store>(
          *engine_, store_options(config_.offload_optimizer.nvme_path, config_.io));
    if (parameters)
      volume_ = std::make_unique<store::Volume>(
          *engine_, store_options(config_.offload_param.nvme_path, config_.io));
    for (const store::PathReport& path : paths())
      log::info("{}: {}, {}", path.path, path.file_system, path.how);
  }

  ~OwnHouse() override {
    if (forked()) {  // threads and locks of another process: nothing here may be touched
      static_cast<void>(engine_.release());
      static_cast<void>(store_.release());
      static_cast<void>(volume_.release());
      return;
    }
    store_.reset();
    volume_.reset();
    if (engine_) {
      const io::ShutdownResult result = engine_->shutdown(config_.io.shutdown_timeout);
      for (const std::string& request : result.abandoned)
        log::error("given up at shutdown: {}", request);
    }
  }

  const Config& config() const override { return config_; }

  io::Engine& engine() override { return *engine_; }
  store::Store& optimizer_store() override { return *store_; }
  store::Volume& parameter_volume() override { return *volume_; }

  void admit(const void* owner, const swap::Claim& claim) override {
    std::lock_guard lock(mutex_);
    plan_.admit(owner, claim);
    log::info("plan:\n{}", plan_.describe());
  }
  void withdraw(const void* owner) noexcept override {
    std::lock_guard lock(mutex_);
    plan_.withdraw(owner);
  }
  bool forked() const noexcept override { return sys::process_id() != owner_; }

  std::string describe_plan() const {
    std::string text;
    {
      std::lock_guard lock(mutex_);
      text = plan_.describe();
    }
    for (const store::PathReport& path : paths())
      text += fmt::format("{}: {} allocated\n", path.path, format_bytes(path.allocated_bytes));
    return text;
  }

  void record(std::shared_ptr<Timeline> timeline) {
    if (engine_) engine_->record(std::move(timeline));
  }

  ContextStats stats() const {
    ContextStats stats;
    if (!engine_) return stats;
    const io::EngineReport report = engine_->report();
    stats.engine = report.engine;
    stats.engine_reasons = report.reasons;
    stats.engine_features = report.features;
    const io::EngineStats io = engine_->stats();
    stats.bytes_read = io.read.bytes;
    stats.bytes_written = io.write.bytes;
    stats.reads = io.read.operations;
    stats.writes = io.write.operations;
    stats.short_transfers = io.short_transfers;
    stats.retries = io.retries;
    stats.errors = io.errors;
    stats.peak_in_flight = io.peak_in_flight;
    stats.read_latency = latency_of(io.read.latency);
    stats.write_latency = latency_of(io.write.latency);
    for (const store::PathReport& path : paths()) stats.paths.push_back(path_stats(path));
    return stats;
  }

 private:
  std::vector<store::PathReport> paths() const {
    std::vector<store::PathReport> all;
    if (store_) all = store_->report();
    if (volume_)
      for (store::PathReport& path : volume_->report()) all.push_back(std::move(path));
    return all;
  }

  const Config config_;
  mutable std::mutex mutex_;
  Plan plan_;
  const int owner_;
  std::unique_ptr<io::Engine> engine_;
  std::unique_ptr<store::Store> store_;  // these two before the engine in destruction
  std::unique_ptr<store::Volume> volume_;
};

const OwnHouse& own(const std::shared_ptr<swap::House>& house) {
  house->check_process();
  return static_cast<const OwnHouse&>(*house);
}

}  // namespace

Context::Context(Config config, Rank rank)
    : house_(std::make_shared<OwnHouse>(std::move(config), rank)) {}
Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;
Context::~Context() = default;

const Config& Context::config() const { return own(house_).config(); }
ContextStats Context::stats() const { return own(house_).stats(); }
std::string Context::describe_plan() const { return own(house_).describe_plan(); }

void Context::record(std::shared_ptr<Timeline> timeline) {
  house_->check_process();
  static_cast<OwnHouse&>(*house_).record(std::move(timeline));
}

OptimizerSwapper::OptimizerSwapper(Context& context, OptimizerOptions options) {
  context.house_->check_process();
  swapper_ = std::make_shared<swap::Swapper>(context.house_, std::move(options));
}

ParameterSwapper::ParameterSwapper(Context& context, ParameterSwapperOptions options) {
  context.house_->check_process();
  parameters_ = std::make_shared<swap::Parameters>(context.house_, std::move(options));
}

}  // namespace spillway
