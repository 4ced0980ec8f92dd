#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "spillway/timeline.h"

namespace spillway::tool {

/// A timeline file for chrome://tracing and ui.perfetto.dev: what ran when, side by side.
///
/// Spans of one activity that overlap stand in lanes of their own ("read 1", "read 2", ...), so
/// that each lane is a plain sequence.
class Trace {
 public:
  /// `process`: a heading ("rank 0"); its spans may come in any order and in several calls.
  /// `dropped`: spans that were not kept.
  void add(const std::string& process, const std::vector<Span>& spans, std::int64_t dropped = 0);
  /// A word on the time line of `process`, where something began.
  void mark(const std::string& process, std::int64_t at_ns, const std::string& text);

  /// The whole as JSON; times count from the first span.
  std::string to_json() const;

 private:
  struct Mark {
    std::int64_t at_ns = 0;
    std::string text;
  };
  struct Process {
    std::string name;
    std::vector<Span> spans;
    std::vector<Mark> marks;
  };
  Process& process(const std::string& name);

  std::vector<Process> processes_;
  std::int64_t dropped_ = 0;
};

}  // namespace spillway::tool
