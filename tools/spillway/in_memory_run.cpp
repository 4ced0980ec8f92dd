#include "in_memory_run.h"

#include <algorithm>
#include <chrono>
#include <new>

namespace spillway::demo {
namespace {

constexpr std::int64_t huge_page = 2 * 1024 * 1024;
constexpr std::int64_t line_elements = 64 / sizeof(float);  // tensors start on cache lines

std::int64_t round_up(std::int64_t value, std::int64_t to) { return (value + to - 1) / to * to; }

std::int64_t array_elements(const Model& model) {
  std::int64_t elements = 0;
  for (const Tensor& tensor : model.tensors) elements += round_up(tensor.elements, line_elements);
  return elements;
}

}  // namespace

std::int64_t InMemoryRun::bytes(const Model& model) {
  const auto width = static_cast<std::int64_t>(sizeof(float));
  return static_cast<std::int64_t>(state_names.size()) *
         round_up(array_elements(model) * width, huge_page);
}

InMemoryRun::Array InMemoryRun::allocate(std::int64_t elements) {
  const std::int64_t bytes = round_up(
      std::max<std::int64_t>(elements, 1) * static_cast<std::int64_t>(sizeof(float)), huge_page);
  void* const memory = std::aligned_alloc(huge_page, static_cast<std::size_t>(bytes));
  if (memory == nullptr) throw std::bad_alloc();
  return Array(static_cast<float*>(memory));
}

InMemoryRun::InMemoryRun(const Model& model, std::uint64_t seed, ComputeThreads& threads,
                         const StepWork& work)
    : model_(model), seed_(seed), threads_(threads), work_(work) {
  std::int64_t at = 0;
  for (std::size_t t = 0; t < model.tensors.size(); ++t) {
    starts_.push_back(at);
    cut(t, 0, model.tensors[t].elements, at, pieces_);
    at += round_up(model.tensors[t].elements, line_elements);
  }
  for (Array& state : states_) state = allocate(array_elements(model));

  const Kernel& kernel = best_kernel();
  threads_.for_each(pieces_.size(), [&](std::size_t i) {
    const Piece& piece = pieces_[i];
    fill_masters(kernel, states_[0].get() + piece.at, piece.first, piece.count,
                 stream_key(seed_, piece.tensor, 0));
    std::fill_n(states_[1].get() + piece.at, piece.count, 0.0F);
    std::fill_n(states_[2].get() + piece.at, piece.count, 0.0F);
  });
}

double InMemoryRun::step(std::int64_t step) {
  const auto begin = std::chrono::steady_clock::now();
  const WorkOfStep work(work_, seed_, step);
  if (!work.idle())
    threads_.for_each(pieces_.size(), [&](std::size_t i) {
      const Piece& piece = pieces_[i];
      work({piece.tensor, piece.first, piece.count, states_[0].get() + piece.at,
            states_[1].get() + piece.at, states_[2].get() + piece.at});
    });
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

Hashes InMemoryRun::hashes() const {
  StateHasher hasher(model_.tensors.size());
  threads_.for_each(model_.tensors.size() * state_names.size(), [&](std::size_t i) {
    const std::size_t tensor = i / state_names.size();
    const std::size_t state = i % state_names.size();
    const std::span<const float> values(states_[state].get() + starts_[tensor],
                                        static_cast<std::size_t>(model_.tensors[tensor].elements));
    hasher.add(tensor, state, std::as_bytes(values));
  });
  return hasher.digest();
}

}  // namespace spillway::demo
