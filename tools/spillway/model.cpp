#include "model.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "spillway/error.h"

namespace spillway::demo {
namespace {

// GPT-2: weights and biases, the head tied to the token embedding (so it has no tensor).
struct Gpt2 {
  std::int64_t hidden, layers;
};

// Llama 2 and 3, and Mixtral, whose feed-forward part is `experts` of them behind a router.
struct Llama {
  std::int64_t hidden, feed_forward, layers, vocabulary, heads, kv_heads, experts;
};

class Builder {
 public:
  Builder(std::string_view name, std::int64_t whole, std::optional<std::int64_t> layers) {
    model_.name = name;
    model_.whole_layers = whole;
    model_.layers = layers.value_or(whole);
    if (model_.layers < 1 || model_.layers > whole)
      throw Error(Errc::invalid_argument,
                  fmt::format("--layers {}: {} has layers 1 to {}", model_.layers, name, whole));
  }

  std::int64_t layers() const { return model_.layers; }
  void add(std::string name, std::int64_t elements) {
    model_.tensors.push_back({std::move(name), elements});
  }
  Model done() { return std::move(model_); }

 private:
  Model model_;
};

Model build(std::string_view name, const Gpt2& shape, std::optional<std::int64_t> layers) {
  const std::int64_t h = shape.hidden;
  Builder model(name, shape.layers, layers);
  model.add("wte.weight", 50257 * h);
  model.add("wpe.weight", 1024 * h);
  for (std::int64_t i = 0; i < model.layers(); ++i) {
    const auto add = [&](std::string_view part, std::int64_t weight, std::int64_t bias) {
      model.add(fmt::format("h.{}.{}.weight", i, part), weight);
      model.add(fmt::format("h.{}.{}.bias", i, part), bias);
    };
    add("ln_1", h, h);
    add("attn.c_attn", h * 3 * h, 3 * h);
    add("attn.c_proj", h * h, h);
    add("ln_2", h, h);
    add("mlp.c_fc", h * 4 * h, 4 * h);
    add("mlp.c_proj", 4 * h * h, h);
  }
  model.add("ln_f.weight", h);
  model.add("ln_f.bias", h);
  return model.done();
}

Model build(std::string_view name, const Llama& shape, std::optional<std::int64_t> layers) {
  const std::int64_t h = shape.hidden;
  const std::int64_t kv = h / shape.heads * shape.kv_heads;
  const std::int64_t f = shape.feed_forward;
  Builder model(name, shape.layers, layers);
  model.add("model.embed_tokens.weight", shape.vocabulary * h);
  for (std::int64_t i = 0; i < model.layers(); ++i) {
    const auto add = [&](std::string_view part, std::int64_t elements) {
      model.add(fmt::format("model.layers.{}.{}.weight", i, part), elements);
    };
    add("self_attn.q_proj", h * h);
    add("self_attn.k_proj", h * kv);
    add("self_attn.v_proj", h * kv);
    add("self_attn.o_proj", h * h);
    if (shape.experts == 0) {
      add("mlp.gate_proj", h * f);
      add("mlp.up_proj", h * f);
      add("mlp.down_proj", f * h);
    } else {
      add("block_sparse_moe.gate", shape.experts * h);
      for (std::int64_t e = 0; e < shape.experts; ++e) {
        add(fmt::format("block_sparse_moe.experts.{}.w1", e), h * f);
        add(fmt::format("block_sparse_moe.experts.{}.w2", e), f * h);
        add(fmt::format("block_sparse_moe.experts.{}.w3", e), h * f);
      }
    }
    add("input_layernorm", h);
    add("post_attention_layernorm", h);
  }
  model.add("model.norm.weight", h);
  model.add("lm_head.weight", shape.vocabulary * h);
  return model.done();
}

// Odd sizes on both sides of every boundary that a tile has.
Model tiny(std::optional<std::int64_t> layers) {
  Builder model("tiny", 2, layers);
  model.add("one", 1);
  model.add("none", 0);
  for (std::int64_t i = 0; i < model.layers(); ++i) {
    const std::array<std::int64_t, 8> sizes{4097, 7, 100003, 4096, 4095, 65537, 15, 20000};
    for (std::size_t k = 0; k < sizes.size(); ++k)
      model.add(fmt::format("layer.{}.t{}", i, k), sizes[k]);
  }
  model.add("last", 33);
  return model.done();
}

// One tensor whose every state is larger than 4 GiB.
Model huge_tensor(std::optional<std::int64_t> layers) {
  Builder model("huge-tensor", 1, layers);
  model.add("huge", (std::int64_t{1} << 30) + 4097);
  return model.done();
}

constexpr std::array<std::pair<std::string_view, Gpt2>, 4> gpt2s{{
    {"gpt2", {768, 12}},
    {"gpt2-medium", {1024, 24}},
    {"gpt2-large", {1280, 36}},
    {"gpt2-xl", {1600, 48}},
}};

constexpr std::array<std::pair<std::string_view, Llama>, 5> llamas{{
    {"llama-2-7b", {4096, 11008, 32, 32000, 32, 32, 0}},
    {"llama-2-13b", {5120, 13824, 40, 32000, 40, 40, 0}},
    {"llama-2-70b", {8192, 28672, 80, 32000, 64, 8, 0}},
    {"llama-3-8b", {4096, 14336, 32, 128256, 32, 8, 0}},
    {"mixtral-8x7b", {4096, 14336, 32, 32000, 32, 8, 8}},
}};

constexpr std::array<std::string_view, 11> names{
    "tiny",       "gpt2",       "gpt2-medium", "gpt2-large",   "huge-tensor", "gpt2-xl",
    "llama-2-7b", "llama-3-8b", "llama-2-13b", "mixtral-8x7b", "llama-2-70b"};

}  // namespace

std::int64_t Model::parameters() const {
  std::int64_t sum = 0;
  for (const Tensor& tensor : tensors) sum += tensor.elements;
  return sum;
}

std::span<const std::string_view> model_names() { return names; }

Model make_model(std::string_view name, std::optional<std::int64_t> layers) {
  if (name == "tiny") return tiny(layers);
  if (name == "huge-tensor") return huge_tensor(layers);
  for (const auto& [known, shape] : gpt2s)
    if (known == name) return build(name, shape, layers);
  for (const auto& [known, shape] : llamas)
    if (known == name) return build(name, shape, layers);
  std::string list;
  for (std::string_view known : names) list += fmt::format("{}{}", list.empty() ? "" : ", ", known);
  throw Error(Errc::invalid_argument, fmt::format("--model {}: not one of {}", name, list));
}

}  // namespace spillway::demo
