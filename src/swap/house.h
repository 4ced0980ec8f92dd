#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/engine.h"
#include "memory/pinned_region.h"
#include "store/store.h"
#include "store/volume.h"

#include "spillway/config.h"

namespace spillway::swap {

/// What one swapper takes of the machine, for the plan.
struct Claim {
  std::string name;
  std::int64_t pool_bytes = 0;      ///< buffer_count x tile
  std::int64_t resident_bytes = 0;  ///< state that stays in host memory
  std::int64_t cache_bytes = 0;     ///< parameters that stay in host memory while there is room
  std::int64_t metadata_bytes = 0;
  std::int64_t locked_bytes = 0;     ///< of these, to be locked
  std::int64_t allocated_bytes = 0;  ///< of these, already mapped: the machine shows them as taken
};

/// What swappers share: one engine, the stores, one plan. The context makes it.
class House {
 public:
  virtual ~House() = default;
  virtual const Config& config() const = 0;
  /// The machine has them when the device of one of the two is nvme (the store: of
  /// offload_optimizer; the volume: of offload_param), else they must not be asked for.
  virtual io::Engine& engine() = 0;
  virtual store::Store& optimizer_store() = 0;
  virtual store::Volume& parameter_volume() = 0;
  /// Puts the claim of `owner` into the plan, in place of its earlier one. Throws Error
  /// does_not_fit with the sum written out; the earlier claim stands then.
  virtual void admit(const void* owner, const Claim& claim) = 0;
  virtual void withdraw(const void* owner) noexcept = 0;
  /// In another process than the one that made it.
  virtual bool forked() const noexcept = 0;
  /// Throws Error forked there.
  void check_process() const;
};

}  // namespace spillway::swap
