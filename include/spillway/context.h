#pragma once

#include <memory>
#include <string>

#include "spillway/config.h"
#include "spillway/stats.h"

namespace spillway {

class Timeline;

namespace swap {
class House;
}

/// Where this process stands in a distributed job; each rank makes its own context.
struct Rank {
  int rank = 0;
  int local_rank = 0;
  int local_world_size = 1;  ///< ranks on this machine share its memory: the plan divides by it
  int cuda_device = -1;
};

/// What an engine makes first: one I/O engine, the stores under the nvme_paths, one plan over all
/// that its swappers take. Swappers are made from it and keep it alive.
///
/// Threads: all members may be called from any thread. In a forked child every call throws Error
/// forked and destructors do nothing.
class Context {
 public:
  /// Checks the config, probes the machine, makes and locks a directory of its own under every
  /// nvme_path in use. Nothing big is allocated yet.
  /// Throws Error: invalid_config, not_found, permission_denied, no_space, unsupported, io_error.
  explicit Context(Config config, Rank rank = {});
  Context(Context&&) noexcept;
  Context& operator=(Context&&) noexcept;
  ~Context();

  const Config& config() const;
  ContextStats stats() const;
  /// The plan so far: every share of memory and disk, one a line, with the sum and what there is.
  std::string describe_plan() const;
  /// Adds every transfer that ends from now on to `timeline`; null: none. Without a store there is
  /// nothing to add.
  void record(std::shared_ptr<Timeline> timeline);

 private:
  friend class OptimizerSwapper;
  friend class ParameterSwapper;
  std::shared_ptr<swap::House> house_;
};

}  // namespace spillway
