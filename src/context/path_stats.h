#pragma once

#include "store/store.h"

#include "spillway/stats.h"

namespace spillway {

/// A path as the store knows it, in the words of the interface.
inline PathStats path_stats(const store::PathReport& report) {
  return {.path = report.path,
          .file_system = report.file_system,
          .direct_io = report.direct,
          .direct_io_proof = report.how,
          .space_guaranteed = report.space_guaranteed,
          .data_file = report.data_file,
          .allocated_bytes = report.allocated_bytes,
          .bytes_read = report.read_bytes,
          .bytes_written = report.written_bytes};
}

}  // namespace spillway
