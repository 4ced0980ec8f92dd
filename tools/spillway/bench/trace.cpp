#include "bench/trace.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace spillway::tool {
namespace {

using nlohmann::ordered_json;

constexpr std::array activities{Activity::read, Activity::write, Activity::compute, Activity::wait};

std::string_view name_of(Activity activity) {
  switch (activity) {
    case Activity::read: return "read";
    case Activity::write: return "write";
    case Activity::compute: return "compute";
    case Activity::wait: return "wait";
  }
  return "?";
}

// The lanes of all activities in one order; 64 transfers in flight are common, 1000 possible.
constexpr int lanes_per_activity = 20000;

double us(std::int64_t ns) { return 1e-3 * static_cast<double>(ns); }

ordered_json name_event(const char* what, int pid, int tid, const std::string& name) {
  return {{"ph", "M"}, {"pid", pid}, {"tid", tid}, {"name", what}, {"args", {{"name", name}}}};
}

/// Adds the spans of one activity of one process; its lanes are numbered from `base`.
class Lanes {
 public:
  Lanes(Activity activity, int pid, int base, std::int64_t first_ns, ordered_json& events)
      : activity_(activity), pid_(pid), base_(base), first_ns_(first_ns), events_(events) {}

  void add(std::vector<Span> spans) {
    std::ranges::stable_sort(spans, {}, &Span::begin_ns);
    for (const Span& span : spans) {
      ordered_json event{{"ph", "X"},
                         {"pid", pid_},
                         {"tid", lane_for(span)},
                         {"ts", us(span.begin_ns - first_ns_)},
                         {"dur", us(span.end_ns - span.begin_ns)},
                         {"name", name_of(activity_)}};
      if (span.bytes > 0) event["args"] = {{"bytes", span.bytes}, {"offset", span.offset}};
      events_.push_back(std::move(event));
    }
  }

 private:
  // The first one that is free by then.
  int lane_for(const Span& span) {
    const auto lane = std::ranges::find_if(
        free_from_, [&](std::int64_t end_ns) { return end_ns <= span.begin_ns; });
    const int number = static_cast<int>(lane - free_from_.begin());
    const int tid = base_ + number;
    if (lane != free_from_.end()) {
      *lane = span.end_ns;
      return tid;
    }
    free_from_.push_back(span.end_ns);
    events_.push_back(
        name_event("thread_name", pid_, tid, fmt::format("{} {}", name_of(activity_), number + 1)));
    events_.push_back({{"ph", "M"},
                       {"pid", pid_},
                       {"tid", tid},
                       {"name", "thread_sort_index"},
                       {"args", {{"sort_index", tid}}}});
    return tid;
  }

  Activity activity_;
  int pid_, base_;
  std::int64_t first_ns_;
  ordered_json& events_;
  std::vector<std::int64_t> free_from_;  // [ns] by lane
};

}  // namespace

Trace::Process& Trace::process(const std::string& name) {
  const auto found = std::ranges::find(processes_, name, &Process::name);
  if (found != processes_.end()) return *found;
  processes_.push_back({.name = name, .spans = {}, .marks = {}});
  return processes_.back();
}

void Trace::add(const std::string& name, const std::vector<Span>& spans, std::int64_t dropped) {
  std::vector<Span>& all = process(name).spans;
  all.insert(all.end(), spans.begin(), spans.end());
  dropped_ += dropped;
}

void Trace::mark(const std::string& name, std::int64_t at_ns, const std::string& text) {
  process(name).marks.push_back({at_ns, text});
}

std::string Trace::to_json() const {
  std::int64_t first = INT64_MAX;
  for (const Process& process : processes_) {
    for (const Span& span : process.spans) first = std::min(first, span.begin_ns);
    for (const Mark& mark : process.marks) first = std::min(first, mark.at_ns);
  }
  ordered_json events = ordered_json::array();
  int pid = 0;
  for (const Process& process : processes_) {
    events.push_back(name_event("process_name", ++pid, 0, process.name));
    for (const Mark& mark : process.marks)
      events.push_back({{"ph", "i"},
                        {"pid", pid},
                        {"tid", 0},
                        {"s", "p"},
                        {"ts", us(mark.at_ns - first)},
                        {"name", mark.text}});
    int base = 1;
    for (const Activity activity : activities) {
      std::vector<Span> spans;
      for (const Span& span : process.spans)
        if (span.activity == activity) spans.push_back(span);
      Lanes(activity, pid, base, first, events).add(std::move(spans));
      base += lanes_per_activity;
    }
  }
  return ordered_json{{"displayTimeUnit", "ms"},
                      {"otherData", {{"program", "spillway"}, {"spans_dropped", dropped_}}},
                      {"traceEvents", std::move(events)}}
      .dump();
}

}  // namespace spillway::tool
