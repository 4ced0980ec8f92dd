#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "piped_process.h"

#include "spillway/path_load.h"
#include "spillway/timeline.h"

namespace spillway::tool {

/// One rank: a process of its own with a PathLoad, as the ranks of a job are processes. It ends,
/// and what it made goes, with this object and with our process, however that ends.
///
/// All members throw Error, those of the other side too, and Stopped when a signal came meanwhile.
class LoadWorker {
 public:
  using OnTick = std::function<void()>;

  /// Starts it; it makes and fills its files beside those of others. `rank` stands in messages.
  LoadWorker(int rank, const PathLoadOptions& options);

  /// Waits until the files are filled; `on_filled` is told the bytes so far now and then.
  void wait_ready(const std::function<void(std::int64_t bytes)>& on_filled);
  const std::vector<std::string>& file_names() const { return file_names_; }
  std::int64_t bytes_per_file() const { return bytes_per_file_; }
  const std::vector<PathStats>& paths() const { return paths_; }

  /// One run, in steps, so that those of several ranks are one: prepare() of all, wait_prepared()
  /// of all, start() of all with one moment (Timeline::now_ns), result() of all. Of the transfers
  /// the first `spans` are kept for take_spans().
  void prepare(const LoadShape& shape, std::int64_t spans);
  void wait_prepared();
  void start(std::int64_t at_ns);
  LoadResult result(const OnTick& on_tick);
  std::vector<Span> take_spans() { return std::exchange(spans_, {}); }
  std::int64_t take_dropped() { return std::exchange(dropped_, 0); }

 private:
  struct Message;
  Message next(const OnTick& on_tick = {});
  [[noreturn]] void throw_end();

  int rank_;
  PipedProcess process_;
  std::vector<std::string> file_names_;
  std::int64_t bytes_per_file_ = 0;
  std::vector<PathStats> paths_;
  std::vector<Span> spans_;
  std::int64_t dropped_ = 0;
};

/// The other side: the whole of that process, whose parent is `parent`. Returns its exit status.
int serve_load(int parent);

}  // namespace spillway::tool
