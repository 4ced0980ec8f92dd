#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace spillway::bench {

/// The step that all peers do: read a tile, touch it, write it, over all of a state.
struct StepShape {
  std::filesystem::path folder;
  std::int64_t state_bytes = 0;  ///< a multiple of tile_bytes
  std::int64_t tile_bytes = 0;   ///< a multiple of 3 * 16 KiB
  int buffers = 4;               ///< tiles in memory at a time

  std::int64_t tiles() const { return state_bytes / tile_bytes; }
};

/// Half the tile, twice the buffers: the same memory.
inline StepShape halved(StepShape shape) {
  shape.tile_bytes /= 2;
  shape.buffers *= 2;
  return shape;
}

/// One float of each 4 KiB page changes, so that a step reads what the last one wrote.
inline void touch(std::byte* tile, std::int64_t bytes) {
  for (std::int64_t at = 0; at < bytes; at += 4096) *reinterpret_cast<float*>(tile + at) += 1.0F;
}

/// Somebody who swaps. Holds its file and its buffers; everything is there when it is made.
class Peer {
 public:
  virtual ~Peer() = default;
  virtual std::string name() const = 0;
  /// How it is set, in words; whether it moves bytes directly.
  virtual std::string setting() const = 0;
  /// Throws Error.
  virtual void step() = 0;
  /// Checks, after `steps` steps, that the state holds what it must. Throws Error corrupt.
  virtual void check(int steps) = 0;
};

std::unique_ptr<Peer> make_spillway_peer(const StepShape& shape, bool checksums);
/// Spillway with AdamW computed on every tile, the share `ratio` of the state on disk.
std::unique_ptr<Peer> make_adamw_peer(const StepShape& shape, double ratio, int threads);
/// As many threads as buffers, each with pread and pwrite in pieces of `block_bytes`.
std::unique_ptr<Peer> make_thread_peer(const StepShape& shape, std::int64_t block_bytes);
/// One thread, libaio. Only where CMake found it (SPILLWAY_HAVE_LIBAIO).
std::unique_ptr<Peer> make_libaio_peer(const StepShape& shape, std::int64_t block_bytes);

}  // namespace spillway::bench
