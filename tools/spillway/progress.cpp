#include "progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace spillway::tool {
namespace {

constexpr auto between_draws = std::chrono::milliseconds(50);
constexpr std::int64_t width = 30;

}  // namespace

std::string time_left(double elapsed, std::int64_t done, std::int64_t total) {
  if (elapsed < 1 || done <= 0) return {};
  const double left = elapsed * static_cast<double>(std::max<std::int64_t>(0, total - done)) /
                      static_cast<double>(done);
  const auto seconds = static_cast<std::int64_t>(std::ceil(left));
  return seconds < 100 ? fmt::format("{} s", seconds)
                       : fmt::format("{} min {} s", seconds / 60, seconds % 60);
}

Progress::Progress() : on_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { clear(); }

void Progress::begin(std::string phase, std::int64_t total) {
  phase_ = std::move(phase);
  total_ = std::max<std::int64_t>(total, 1);
  done_ = 0;
  began_ = std::chrono::steady_clock::now();
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
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - began_;
  const std::string left = time_left(elapsed.count(), done_, total_);
  fmt::print(stderr, "\r{:<28} [{}] {:3} %{}\x1b[K", phase_, bar,
             std::min<std::int64_t>(100, done_ * 100 / total_),
             left.empty() ? "" : ", " + left + " left");
  std::fflush(stderr);
  drawn_ = true;
  next_draw_ = std::chrono::steady_clock::now() + between_draws;
}

}  // namespace spillway::tool
