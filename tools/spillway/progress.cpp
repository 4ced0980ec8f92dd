#include "progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace spillway::tool {
namespace {

constexpr auto between_draws = std::chrono::milliseconds(50);
constexpr std::int64_t width = 30;

}  // namespace

Progress::Progress() : on_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { clear(); }

void Progress::begin(std::string phase, std::int64_t total) {
  phase_ = std::move(phase);
  total_ = std::max<std::int64_t>(total, 1);
  done_ = 0;
  if (on_) draw();
}

void Progress::advance(std::int64_t units) {
  done_ += units;
  if (on_ && std::chrono::steady_clock::now() >= next_draw_) draw();
}

void Progress::clear() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  drawn_ = false;
}

void Progress::draw() {
  const std::int64_t filled = std::min(width, done_ * width / total_);
  const std::string bar = std::string(static_cast<std::size_t>(filled), '#') +
                          std::string(static_cast<std::size_t>(width - filled), '.');
  fmt::print(stderr, "\r{:<28} [{}] {:3} %\x1b[K", phase_, bar,
             std::min<std::int64_t>(100, done_ * 100 / total_));
  std::fflush(stderr);
  drawn_ = true;
  next_draw_ = std::chrono::steady_clock::now() + between_draws;
}

}  // namespace spillway::tool
