#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spillway::config {

enum class Dialect { native, deepspeed };

/// Where each field stands in the file that was read, so that a rule broken by several fields can
/// name them as their author wrote them.
class Places {
 public:
  explicit Places(Dialect dialect = Dialect::native) : dialect_(dialect) {}

  Dialect dialect() const { return dialect_; }

  /// The path of a whole section ("zero_optimization.offload_param", "io").
  std::string of(std::string_view section) const;
  /// The path of a field: where it was found, else where it would have to be written.
  std::string of(std::string_view section, std::string_view key) const;

  void found(std::string_view section, std::string_view key, std::string path);
  bool has(std::string_view section, std::string_view key) const;

 private:
  struct Found {
    std::string section, key, path;
  };
  const Found* find(std::string_view section, std::string_view key) const;

  Dialect dialect_;
  std::vector<Found> found_;
};

/// DeepSpeed's name of an `io` field under `aio`; empty where it has none.
std::string_view aio_name(std::string_view io_key);

}  // namespace spillway::config
