#pragma once

#include <cstdint>
#include <string>

namespace spillway::tool {

/// Hugetlb pages of 2 MiB for a child that asks for some and does not live without (fio). Root gets
/// them set aside (vm.nr_hugepages) for as long as this lives; others find them there, or not.
class HugePages {
 public:
  /// Never throws for want of pages: see why_not().
  explicit HugePages(std::int64_t bytes);
  ~HugePages();
  HugePages(const HugePages&) = delete;
  HugePages& operator=(const HugePages&) = delete;

  bool enough() const { return why_not_.empty(); }
  /// Why there are not enough, with the command that mends it.
  const std::string& why_not() const { return why_not_; }
  /// Pages that were added for this and go again.
  std::int64_t added() const { return added_; }

  static bool free_for(std::int64_t bytes);

 private:
  std::int64_t added_ = 0;
  std::string why_not_;
};

}  // namespace spillway::tool
