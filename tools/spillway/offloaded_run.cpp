#include "offloaded_run.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

namespace spillway::demo {
namespace {

constexpr std::int64_t adamw_bytes = 3 * sizeof(float);  // of an element

OptimizerOptions adamw_states() {
  OptimizerOptions options;
  for (const std::string_view name : state_names)
    options.states.push_back({.name = std::string(name), .dtype = DType::f32});
  options.name = "adamw";
  return options;
}

}  // namespace

OffloadedRun::OffloadedRun(const Model& model, const Config& config, std::uint64_t seed,
                           ComputeThreads& threads, const StepWork& work, const Rank& rank)
    : seed_(seed),
      threads_(threads),
      work_(work),
      model_(model),
      context_(config, rank),
      swapper_(context_, adamw_states()) {
  for (std::size_t t = 0; t < model.tensors.size(); ++t)
    swapper_.add(model.tensors[t].name, model.tensors[t].elements, {.tag = t});
}

void OffloadedRun::set_up(const OnTile& on_tile) {
  swapper_.seal();
  write_first_values(swapper_.begin({.write = {"master"}}), false, on_tile);
}

void OffloadedRun::start_again(const OnTile& on_tile) {
  write_first_values(swapper_.begin({.write = {state_names[0], state_names[1], state_names[2]}}),
                     true, on_tile);
}

// Masters are drawn; moments are zero, as they are where nobody has written any.
void OffloadedRun::write_first_values(Run run, bool moments, const OnTile& on_tile) {
  const Kernel& kernel = best_kernel();
  while (auto tile = run.next()) {
    std::int64_t elements = 0;
    for (const Slice& slice : tile->slices()) {
      float* const master = slice.of<float>("master").data();
      if (moments)
        for (const std::string_view state : {state_names[1], state_names[2]})
          std::ranges::fill(slice.of<float>(state), 0.0F);
      pieces_.clear();
      cut(slice.tag, slice.offset, slice.count, 0, pieces_);
      threads_.for_each(pieces_.size(), [&](std::size_t i) {
        const Piece& piece = pieces_[i];
        fill_masters(kernel, master + piece.at, piece.first, piece.count,
                     stream_key(seed_, piece.tensor, 0));
      });
      elements += slice.count;
    }
    tile->commit();
    on_tile(elements);
  }
}

double OffloadedRun::step(std::int64_t step, const OnTile& on_tile) {
  const auto begin = std::chrono::steady_clock::now();
  const WorkOfStep work(work_, seed_, step);
  std::int64_t asked_ns = timeline_ ? Timeline::now_ns() : 0;
  for (Run run = swapper_.begin_step(step); auto tile = run.next();) {
    add_span(Activity::wait, asked_ns);
    const std::int64_t begun_ns = timeline_ ? Timeline::now_ns() : 0;
    turns_.clear();
    std::int64_t elements = 0;
    for (const Slice& slice : tile->slices()) {
      float* const master = slice.of<float>("master").data();
      float* const exp_avg = slice.of<float>("exp_avg").data();
      float* const exp_avg_sq = slice.of<float>("exp_avg_sq").data();
      pieces_.clear();
      cut(slice.tag, slice.offset, slice.count, 0, pieces_);
      for (const Piece& piece : pieces_)
        turns_.push_back({piece.tensor, piece.first, piece.count, master + piece.at,
                          exp_avg + piece.at, exp_avg_sq + piece.at});
      elements += slice.count;
    }
    // One hand-over to the other threads per tile, however many tensors it packs.
    if (!work.idle()) threads_.for_each(turns_.size(), [&](std::size_t i) { work(turns_[i]); });
    tile->commit();
    add_span(Activity::compute, begun_ns, elements * adamw_bytes);
    on_tile(elements);
    if (timeline_) asked_ns = Timeline::now_ns();
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void OffloadedRun::record(std::shared_ptr<Timeline> timeline) {
  context_.record(timeline);
  timeline_ = std::move(timeline);
}

void OffloadedRun::add_span(Activity activity, std::int64_t begin_ns, std::int64_t bytes) const {
  if (!timeline_) return;
  timeline_->add(
      {.activity = activity, .begin_ns = begin_ns, .end_ns = Timeline::now_ns(), .bytes = bytes});
}

Hashes OffloadedRun::hashes(const OnTile& on_tile) {
  StateHasher hasher(model_.tensors.size());
  std::vector<std::int64_t> hashed(model_.tensors.size(), 0);
  Run run = swapper_.begin(
      {.read = {state_names[0], state_names[1], state_names[2]}, .order = Order::registration});
  while (auto tile = run.next()) {
    std::int64_t elements = 0;
    for (const Slice& slice : tile->slices()) {
      // A hash over the right bytes in a wrong order would be no proof of anything.
      if (slice.offset != hashed.at(slice.tag))
        throw std::logic_error(fmt::format("{}: element {} came after {}",
                                           model_.tensors[slice.tag].name, slice.offset,
                                           hashed[slice.tag]));
      hashed[slice.tag] += slice.count;
      threads_.for_each(state_names.size(), [&](std::size_t state) {
        hasher.add(slice.tag, state, std::as_bytes(slice.of<const float>(state_names[state])));
      });
      elements += slice.count;
    }
    tile->commit();
    on_tile(elements);
  }
  for (std::size_t t = 0; t < hashed.size(); ++t)
    if (hashed[t] != model_.tensors[t].elements)
      throw std::logic_error(fmt::format("{}: {} of {} elements were read back",
                                         model_.tensors[t].name, hashed[t],
                                         model_.tensors[t].elements));
  return hasher.digest();
}

}  // namespace spillway::demo
