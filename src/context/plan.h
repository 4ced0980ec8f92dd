#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "swap/house.h"

namespace spillway {

/// Everything that the swappers of one context take of this machine's memory, added up before any
/// of it is allocated, and compared with what the machine, the cgroup and the limits have left.
///
/// Not thread-safe; the context has the lock.
class Plan {
 public:
  explicit Plan(int local_world_size) : ranks_(local_world_size) {}

  /// Throws Error does_not_fit with the sum written out; the earlier claim of `owner` stands then.
  void admit(const void* owner, const swap::Claim& claim);
  void withdraw(const void* owner) { claims_.erase(owner); }
  std::string describe() const;

 private:
  std::map<const void*, swap::Claim> claims_;
  int ranks_;
};

}  // namespace spillway
