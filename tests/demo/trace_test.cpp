#include "bench/trace.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <map>

#include "bench/promised_file.h"
#include "support/temp_dir.h"

#include "spillway/error.h"

namespace spillway::tool {
namespace {

using nlohmann::json;

Span span(Activity activity, std::int64_t begin, std::int64_t end) {
  return {.activity = activity, .begin_ns = begin, .end_ns = end, .bytes = 4096, .offset = 8192};
}

json events_of(const Trace& trace) { return json::parse(trace.to_json()).at("traceEvents"); }

TEST(TraceTest, LanesHoldSpansThatDoNotOverlap) {
  Trace trace;
  trace.add("rank 0", {span(Activity::read, 1000, 5000), span(Activity::read, 2000, 3000),
                       span(Activity::read, 3000, 6000), span(Activity::write, 1000, 9000),
                       span(Activity::compute, 0, 500), span(Activity::wait, 500, 600)});
  std::map<int, double> ends;
  std::map<int, std::string> names;
  int spans = 0;
  for (const json& event : events_of(trace)) {
    if (event["ph"] == "M" && event["name"] == "thread_name")
      names[event["tid"]] = event["args"]["name"];
    if (event["ph"] != "X") continue;
    ++spans;
    const int lane = event["tid"];
    EXPECT_GE(event["ts"].get<double>(), ends[lane]) << event;
    ends[lane] = event["ts"].get<double>() + event["dur"].get<double>();
    EXPECT_TRUE(names[lane].starts_with(event["name"].get<std::string>())) << names[lane];
  }
  EXPECT_EQ(spans, 6);
  EXPECT_EQ(ends.size(), 5U) << "two for the reads";
}

TEST(TraceTest, TimesCountFromTheFirstSpanInMicroseconds) {
  Trace trace;
  trace.add("a", {span(Activity::write, 2'000'000, 3'500'000)});
  trace.add("b", {span(Activity::write, 1'000'000, 1'500'000)});
  trace.mark("b", 1'200'000, "round 1");
  double latest = 0;
  for (const json& event : events_of(trace)) {
    if (event["ph"] == "i") {
      EXPECT_EQ(event["ts"], 200.0);
    }
    if (event["ph"] == "X") latest = std::max(latest, event["ts"].get<double>());
  }
  EXPECT_EQ(latest, 1000.0);
}

TEST(TraceTest, SaysWhatWasNotKept) {
  Trace trace;
  trace.add("a", {}, 3);
  trace.add("a", {}, 4);
  const json whole = json::parse(trace.to_json());
  EXPECT_EQ(whole["otherData"]["spans_dropped"], 7);
}

Errc code_of(const std::filesystem::path& file) {
  try {
    PromisedFile(file).write("x");
  } catch (const Error& error) {
    return error.code();
  }
  return Errc::timeout;
}

TEST(PromisedFileTest, IsThereOnceItIsWrittenAndOnlyThen) {
  const TempDir folder;
  const std::filesystem::path name = folder.path() / "out.json";
  {
    const PromisedFile file(name);
    EXPECT_TRUE(std::filesystem::exists(name));
  }
  EXPECT_FALSE(std::filesystem::exists(name));
  PromisedFile(name).write("first");
  { const PromisedFile file(name); }
  EXPECT_EQ(std::filesystem::file_size(name), 5U) << "what stood there is kept";
  PromisedFile(name).write("2nd");
  EXPECT_EQ(std::filesystem::file_size(name), 3U);
}

TEST(PromisedFileTest, SaysWhyItCannotBe) {
  const TempDir folder;
  EXPECT_EQ(code_of(folder.path() / "absent" / "trace.json"), Errc::not_found);
  EXPECT_EQ(code_of(folder.path()), Errc::permission_denied);
  EXPECT_EQ(code_of("/dev/full"), Errc::no_space);
}

}  // namespace
}  // namespace spillway::tool
