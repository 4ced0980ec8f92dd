#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace spillway::store {

/// The name of an instance's own directory: `spillway-<host tag>-<pid>-<6 random>`, for example
/// `spillway-3f2a9c0d11e47b56-4711-k3x9qz`. The host tag says whose locks can be trusted, the pid
/// is for people, the random part keeps instances of one process apart.
struct DirectoryName {
  std::string host;  ///< 16 hex digits
  int pid = 0;
  std::string random;  ///< 6 of a-z, 0-9

  std::string text() const;
  /// Nullopt for everything that text() cannot have written.
  static std::optional<DirectoryName> parse(std::string_view text);
  /// A fresh one for this process.
  static DirectoryName make(const std::string& host);
};

}  // namespace spillway::store
