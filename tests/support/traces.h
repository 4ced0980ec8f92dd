#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace spillway::test {

/// The tensors of a transformer: sizes in elements, and which layer uses which, in order.
struct Model {
  std::string name;
  std::vector<std::int64_t> elements;              // by tensor
  std::vector<std::vector<std::uint32_t>> layers;  // the first and last are embedding and head
  std::vector<std::vector<std::vector<std::uint32_t>>> experts;  // [layer][expert], if any

  std::int64_t total() const {
    std::int64_t sum = 0;
    for (const std::int64_t n : elements) sum += n;
    return sum;
  }
  std::uint32_t add(std::int64_t n) {
    elements.push_back(n);
    return static_cast<std::uint32_t>(elements.size() - 1);
  }
};

/// h: hidden, f: feed-forward, v: vocabulary, kv: heads that hold keys, experts: 0 for dense.
struct LlamaShape {
  std::string name;
  std::int64_t h, f, layers, v, heads, kv;
  int experts = 0;
};

inline Model llama(const LlamaShape& shape) {
  Model model{shape.name, {}, {}, {}};
  const std::int64_t h = shape.h, f = shape.f, kv = h / shape.heads * shape.kv;
  const auto layer = [&](std::initializer_list<std::int64_t> sizes) {
    std::vector<std::uint32_t> ids;
    for (const std::int64_t n : sizes) ids.push_back(model.add(n));
    model.layers.push_back(std::move(ids));
    model.experts.emplace_back();
  };
  layer({shape.v * h});
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    if (shape.experts == 0) {
      layer({h, h * h, h * kv, h * kv, h * h, h, h * f, h * f, h * f});
      continue;
    }
    layer({h, h * h, h * kv, h * kv, h * h, h, h * shape.experts});
    for (int e = 0; e < shape.experts; ++e)
      model.experts.back().push_back({model.add(h * f), model.add(h * f), model.add(h * f)});
  }
  layer({h, shape.v * h});
  return model;
}

/// GPT-2 of hidden size h; the head is the embedding again.
inline Model gpt2(std::string name, std::int64_t h, int layers) {
  Model model{std::move(name), {}, {}, {}};
  const std::uint32_t embedding = model.add(50257 * h), positions = model.add(1024 * h);
  model.layers.push_back({embedding, positions});
  for (int i = 0; i < layers; ++i) {
    std::vector<std::uint32_t> ids;
    for (const std::int64_t n :
         {h, h, 3 * h * h, 3 * h, h * h, h, h, h, 4 * h * h, 4 * h, 4 * h * h, h})
      ids.push_back(model.add(n));
    model.layers.push_back(std::move(ids));
  }
  model.layers.push_back({model.add(h), model.add(h), embedding});
  model.experts.resize(model.layers.size());
  return model;
}

inline std::vector<Model> dense_models() {
  return {gpt2("gpt2", 768, 12),
          gpt2("gpt2-medium", 1024, 24),
          gpt2("gpt2-large", 1280, 36),
          gpt2("gpt2-xl", 1600, 48),
          llama({"llama-2-7b", 4096, 11008, 32, 32000, 32, 32}),
          llama({"llama-2-13b", 5120, 13824, 40, 32000, 40, 40}),
          llama({"llama-2-70b", 8192, 28672, 80, 32000, 64, 8}),
          llama({"llama-3-8b", 4096, 14336, 32, 128256, 32, 8})};
}

inline Model mixtral() { return llama({"mixtral-8x7b", 4096, 14336, 32, 32000, 32, 8, 8}); }

using Pass = std::vector<std::uint32_t>;

/// Every tensor once, layer by layer: evaluation, or a cyclic scan when it is repeated.
inline Pass forward(const Model& model) {
  Pass pass;
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    pass.insert(pass.end(), model.layers[i].begin(), model.layers[i].end());
    for (const auto& expert : model.experts[i])
      pass.insert(pass.end(), expert.begin(), expert.end());
  }
  return pass;
}

/// Forward, then backward: tensor by tensor in reverse.
inline Pass forward_backward(const Model& model) {
  Pass pass = forward(model);
  for (std::size_t i = pass.size(); i-- > 0;) pass.push_back(pass[i]);
  return pass;
}

/// Forward, then backward over whole layers, each fetched in its own order as a unit.
inline Pass forward_backward_by_layer(const Model& model) {
  Pass pass = forward(model);
  for (std::size_t i = model.layers.size(); i-- > 0;) {
    pass.insert(pass.end(), model.layers[i].begin(), model.layers[i].end());
    for (const auto& expert : model.experts[i])
      pass.insert(pass.end(), expert.begin(), expert.end());
  }
  return pass;
}

/// Forward and backward through `active` experts of each layer, drawn anew.
inline Pass mixture_pass(const Model& model, int active, std::mt19937& random) {
  Pass pass;
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    pass.insert(pass.end(), model.layers[i].begin(), model.layers[i].end());
    auto experts = model.experts[i];
    for (int e = 0; e < active && !experts.empty(); ++e) {
      const std::size_t chosen = random() % experts.size();
      pass.insert(pass.end(), experts[chosen].begin(), experts[chosen].end());
      experts.erase(experts.begin() + static_cast<std::ptrdiff_t>(chosen));
    }
  }
  for (std::size_t i = pass.size(); i-- > 0;) pass.push_back(pass[i]);
  return pass;
}

}  // namespace spillway::test
