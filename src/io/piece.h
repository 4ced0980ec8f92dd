#pragma once

#include <cstddef>
#include <cstdint>

#include "io/engine.h"
#include "io/request.h"

namespace spillway::io {

/// A file that has been added, as queues and back-ends see it.
struct DataFile {
  FileSpec spec;
  FileId id{};
  int slot = -1;              ///< the back-end's: where it is registered
  std::int64_t requests = 0;  ///< queued or in flight
  TransferStats read, write;
};

/// What one device operation moves: a part of a request, at most a block.
struct Piece {
  Request* request = nullptr;
  DataFile* file = nullptr;
  Op op = Op::read;
  Service service = Service::demand;  ///< as it was when cut
  std::byte* data = nullptr;
  std::int64_t offset = 0;         ///< [bytes] in the file
  std::int64_t bytes = 0;          ///< that remain to be moved
  std::int64_t at = 0;             ///< [bytes] from the front of the request
  int stalls = 0;                  ///< attempts in a row that moved nothing
  int backoffs = 0;                ///< EAGAIN and its kind in a row
  std::int64_t first_busy_ns = 0;  ///< when that began
  std::int64_t due_ns = 0;         ///< when it is tried again
  Piece* next = nullptr;           ///< in one of the scheduler's lists
  Piece* previous = nullptr;
};

/// How one operation ended: bytes moved (perhaps fewer than asked for), or -errno.
struct Completion {
  Piece* piece = nullptr;
  std::int64_t result = 0;
};

/// One SQE (and one pread) moves at most INT_MAX rounded down to a page; the kernel cuts off the
/// rest in silence.
inline constexpr std::int64_t max_piece_bytes = 2147479552;

}  // namespace spillway::io
