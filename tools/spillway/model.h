#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spillway::demo {

struct Tensor {
  std::string name;
  std::int64_t elements = 0;
};

/// The tensors of a published model, under their names in the Hugging Face checkpoints. Shapes
/// only: values come from a counter.
struct Model {
  std::string name;
  std::int64_t layers = 0;        ///< described here
  std::int64_t whole_layers = 0;  ///< of the published model
  std::vector<Tensor> tensors;

  std::int64_t parameters() const;
  bool truncated() const { return layers < whole_layers; }
};

/// What make_model() knows, smallest first.
std::span<const std::string_view> model_names();

/// The first `layers` layers of the model (embeddings and head stay), or all of it.
/// Throws Error invalid_argument: an unknown name, layers outside [1, those of the model].
Model make_model(std::string_view name, std::optional<std::int64_t> layers = std::nullopt);

}  // namespace spillway::demo
