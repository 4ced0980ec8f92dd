#include "model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "spillway/error.h"

namespace spillway::demo {
namespace {

struct Published {
  const char* name;
  std::int64_t layers, parameters, largest;
};

// As counted in the published checkpoints (GPT-2 with its head tied).
constexpr Published published[] = {
    {"gpt2", 12, 124'439'808, 50257 * 768},
    {"gpt2-medium", 24, 354'823'168, 50257 * 1024},
    {"gpt2-large", 36, 774'030'080, 50257 * 1280},
    {"gpt2-xl", 48, 1'557'611'200, 50257 * 1600},
    {"llama-2-7b", 32, 6'738'415'616, 32000L * 4096},
    {"llama-2-13b", 40, 13'015'864'320, 32000L * 5120},
    {"llama-2-70b", 80, 68'976'648'192, 32000L * 8192},
    {"llama-3-8b", 32, 8'030'261'248, 128256L * 4096},
    {"mixtral-8x7b", 32, 46'702'792'704, 32000L * 4096},
};

TEST(ModelTest, TotalsAreThoseOfThePublishedModels) {
  for (const Published& expected : published) {
    const Model model = make_model(expected.name);
    EXPECT_EQ(model.parameters(), expected.parameters) << expected.name;
    EXPECT_EQ(model.layers, expected.layers) << expected.name;
    EXPECT_FALSE(model.truncated());
    const auto largest = std::ranges::max_element(model.tensors, {}, &Tensor::elements);
    EXPECT_EQ(largest->elements, expected.largest) << expected.name;
  }
}

TEST(ModelTest, NamesAreUniqueAndThoseOfTheCheckpoints) {
  for (const std::string_view name : model_names()) {
    std::set<std::string> names;
    for (const Tensor& tensor : make_model(name).tensors)
      EXPECT_TRUE(names.insert(tensor.name).second) << name << ": " << tensor.name << " twice";
  }
  const auto has = [](std::string_view model, std::string_view tensor, std::int64_t elements) {
    const auto tensors = make_model(model).tensors;
    const auto found = std::ranges::find(tensors, tensor, &Tensor::name);
    return found != tensors.end() && found->elements == elements;
  };
  EXPECT_TRUE(has("gpt2", "h.11.mlp.c_proj.bias", 768));
  EXPECT_TRUE(has("gpt2-xl", "h.47.attn.c_attn.weight", 3L * 1600 * 1600));
  EXPECT_TRUE(has("llama-2-70b", "model.layers.79.self_attn.k_proj.weight", 8192L * 1024));
  EXPECT_TRUE(has("llama-3-8b", "lm_head.weight", 128256L * 4096));
  EXPECT_TRUE(
      has("mixtral-8x7b", "model.layers.0.block_sparse_moe.experts.7.w2.weight", 14336L * 4096));
  EXPECT_TRUE(has("mixtral-8x7b", "model.layers.31.block_sparse_moe.gate.weight", 8L * 4096));
}

TEST(ModelTest, FewerLayersKeepEmbeddingsAndHead) {
  const Model one = make_model("llama-2-7b", 1);
  const Model two = make_model("llama-2-7b", 2);
  EXPECT_TRUE(one.truncated());
  EXPECT_EQ(one.whole_layers, 32);
  EXPECT_EQ(one.parameters() + 31 * (two.parameters() - one.parameters()), 6'738'415'616);
  EXPECT_EQ(one.tensors.back().name, "lm_head.weight");
}

TEST(ModelTest, WhatDoesNotExistIsRefused) {
  for (const auto& make : {+[] { make_model("gtp2"); }, +[] { make_model("gpt2", 13); },
                           +[] { make_model("gpt2", 0); }, +[] { make_model("tiny", -1); }}) {
    try {
      make();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::invalid_argument) << error.what();
    }
  }
}

// What one of the demo's states must exceed for 32-bit arithmetic on bytes to show.
TEST(ModelTest, TheHugeTensorPasses4GiB) {
  const Model model = make_model("huge-tensor");
  EXPECT_GT(model.tensors.at(0).elements * 4, std::int64_t{1} << 32);
}

}  // namespace
}  // namespace spillway::demo
