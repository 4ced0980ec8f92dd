#include "io/backend.h"

#include <fmt/core.h>

#include <cerrno>

namespace spillway::io {

int Backend::add_memory(std::span<std::byte> memory, std::string& why) {
  static_cast<void>(memory);
  why = fmt::format("{} has no registered buffers", name());
  return EOPNOTSUPP;
}

}  // namespace spillway::io
