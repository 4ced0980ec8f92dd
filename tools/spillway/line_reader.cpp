#include "line_reader.h"

#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "stop_signals.h"

#include "spillway/error.h"

namespace spillway::tool {
namespace {

// How soon a signal is noticed that came just before poll().
constexpr int poll_ms = 100;

}  // namespace

std::optional<std::string> LineReader::read(const OnTick& on_tick) {
  for (std::size_t searched = 0;;) {
    StopSignals::check();
    if (const std::size_t end = buffer_.find('\n', searched); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    searched = buffer_.size();
    pollfd readable{fd_, POLLIN, 0};
    if (::poll(&readable, 1, poll_ms) <= 0) {
      if (on_tick) on_tick();
      continue;
    }
    std::array<char, 16384> piece{};
    const ssize_t got = ::read(fd_, piece.data(), piece.size());
    if (got > 0) buffer_.append(piece.data(), static_cast<std::size_t>(got));
    if (got < 0 && errno != EINTR)
      throw Error(Errc::io_error, fmt::format("a pipe: {}", std::strerror(errno)));
    if (got == 0) {
      if (buffer_.empty()) return std::nullopt;
      return std::exchange(buffer_, {});
    }
  }
}

}  // namespace spillway::tool
