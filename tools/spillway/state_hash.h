#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model.h"

namespace spillway::demo {

/// AdamW's states, in the order in which everything here keeps them.
inline constexpr std::array<std::string_view, 3> state_names{"master", "exp_avg", "exp_avg_sq"};

/// 128-bit XXH3 of every state of every tensor, in hexadecimal: [tensor][state].
using Hashes = std::vector<std::array<std::string, state_names.size()>>;

/// Takes the bytes of each (tensor, state) from front to back, in as many pieces as they come.
///
/// Threads: pieces of different (tensor, state) pairs may be added at once.
class StateHasher {
 public:
  explicit StateHasher(std::size_t tensors);
  ~StateHasher();
  StateHasher(StateHasher&&) noexcept;

  void add(std::size_t tensor, std::size_t state, std::span<const std::byte> bytes);
  Hashes digest() const;

 private:
  struct Stream;
  std::vector<std::unique_ptr<Stream>> streams_;
};

struct Difference {
  std::string tensor, state;
};

/// The first in registration order. Requires as many hashes as the model has tensors.
std::optional<Difference> first_difference(const Model& model, const Hashes& a, const Hashes& b);

}  // namespace spillway::demo
