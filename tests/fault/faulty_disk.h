#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "support/fake_backend.h"
#include "support/fuse_disk.h"
#include "support/swap_fixture.h"
#include "swap/fake_house.h"

#include "spillway/spillway.h"

namespace spillway::test {

/// A disk that does what the test tells it, real or in memory: the loops over "the n-th operation"
/// are written once.
class FaultyDisk {
 public:
  virtual ~FaultyDisk() = default;
  /// Empty, or why this machine has no such disk.
  virtual std::string missing() const = 0;
  /// A context whose optimizer state lives there.
  virtual Context open(Config config) = 0;
  /// Reads and writes that have reached it.
  virtual std::int64_t operations() const = 0;

  struct Rule {
    bool reads = true, writes = true;
    std::int64_t from = 0, to = INT64_MAX / 2;  ///< numbers, counted from now on
    int error = 0;                              ///< errno
    std::int64_t short_bytes = -1;              ///< moves no more; -1: all
  };
  virtual void rule(const Rule& rule) = 0;
  virtual void mend() = 0;
  /// Operations that the rule has hit.
  virtual std::int64_t hits() const = 0;
};

class FuseFaultyDisk final : public FaultyDisk {
 public:
  std::string missing() const override { return disk_.mounted() ? "" : disk_.reason(); }
  Context open(Config config) override {
    config.offload_optimizer.nvme_path = {disk_.path()};
    if (config.offload_param.device == OffloadDevice::nvme)
      config.offload_param.nvme_path = {disk_.path()};
    return Context(std::move(config));
  }
  std::int64_t operations() const override { return disk_.operations(); }
  void rule(const Rule& rule) override {
    disk_.rule({.kinds = (rule.reads ? fuse_read : 0) | (rule.writes ? fuse_write : 0),
                .from = rule.from,
                .to = rule.to,
                .error = rule.error,
                .short_bytes = rule.short_bytes});
  }
  void mend() override { disk_.mend(); }
  std::int64_t hits() const override { return disk_.hits(); }
  FuseDisk& disk() { return disk_; }

 private:
  FuseDisk disk_;
};

class FakeFaultyDisk final : public FaultyDisk {
 public:
  std::string missing() const override { return ""; }
  Context open(Config config) override {
    config.offload_optimizer.nvme_path = {scratch_.path()};
    if (config.offload_param.device == OffloadDevice::nvme)
      config.offload_param.nvme_path = {scratch_.path()};
    return context_in(std::make_shared<FakeHouse>(std::move(config), device_));
  }
  std::int64_t operations() const override { return device_->started(); }
  void rule(const Rule& rule) override {
    const std::int64_t now = device_->started();
    const auto hits = std::make_shared<std::atomic<std::int64_t>>(0);
    hits_ = hits;
    device_->plan([=](const io::FakeOp& op) -> std::int64_t {
      const bool kind = op.op == io::Op::read ? rule.reads : rule.writes;
      if (!kind || op.number < now + rule.from || op.number >= now + rule.to) return op.bytes;
      ++*hits;
      if (rule.error != 0) return -rule.error;
      return rule.short_bytes >= 0 ? std::min(rule.short_bytes, op.bytes) : op.bytes;
    });
  }
  void mend() override { device_->plan({}); }
  std::int64_t hits() const override { return hits_ ? hits_->load() : 0; }

 private:
  Scratch scratch_;
  static constexpr std::int64_t file_bytes = 4 * 1024 * 1024;  // of the two
  std::shared_ptr<io::FakeDevice> device_ =
      std::make_shared<io::FakeDevice>(2 * file_bytes, file_bytes);
  std::shared_ptr<std::atomic<std::int64_t>> hits_;
};

}  // namespace spillway::test
