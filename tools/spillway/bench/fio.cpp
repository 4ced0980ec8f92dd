#include "bench/fio.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "piped_process.h"

#include "spillway/error.h"

namespace spillway::tool {
namespace {

using nlohmann::json;

// fio takes a colon for the border between two names.
std::string escaped(const std::string& name) {
  std::string text;
  for (const char c : name) {
    if (c == ':' || c == '\\') text += '\\';
    text += c;
  }
  return text;
}

std::string names(const std::vector<std::string>& files) {
  std::string list;
  for (const std::string& file : files) list += (list.empty() ? "" : ":") + escaped(file);
  return list;
}

std::string_view direction(LoadPattern pattern) {
  switch (pattern) {
    case LoadPattern::read: return "read";
    case LoadPattern::write: return "write";
    case LoadPattern::mixed: return "rw";
  }
  return "?";
}

LoadLatency latency_in(const json& side) {
  LoadLatency latency;
  const auto us = [](const json& ns) { return 1e-3 * ns.get<double>(); };
  latency.count = side.at("total_ios");
  const json& all = side.at("lat_ns");
  if (latency.count == 0 || !all.contains("percentile")) return latency;
  const json& percentile = all["percentile"];
  latency.p50 = us(percentile.at("50.000000"));
  latency.p90 = us(percentile.at("90.000000"));
  latency.p99 = us(percentile.at("99.000000"));
  latency.p999 = us(percentile.at("99.900000"));
  latency.max = us(all.at("max"));
  return latency;
}

// The object among warnings: it begins and ends on lines of its own.
std::string_view object_in(std::string_view output) {
  std::size_t begin = output.starts_with("{") ? 0 : output.find("\n{");
  const std::size_t end = output.rfind("\n}");
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return {};
  return output.substr(begin, end + 2 - begin);
}

std::string_view first_words(std::string_view text) {
  while (!text.empty() && text.front() == '\n') text.remove_prefix(1);
  return text.substr(0, std::min<std::size_t>(text.find('{'), 500));
}

}  // namespace

std::vector<std::string> fio_arguments(const FioRun& run) {
  std::vector<std::string> words{
      "--output-format=json",
      fmt::format("--rw={}", direction(run.pattern)),
      fmt::format("--bs={}", run.block_bytes),
      fmt::format("--iodepth={}", run.depth),
      fmt::format("--direct={}", run.direct ? 1 : 0),
      fmt::format("--runtime={}ms", std::max(1, static_cast<int>(run.seconds * 1000))),
      "--thread",
      "--group_reporting",
      "--overwrite=1",
      "--allow_file_create=0",
      "--fallocate=none",
      "--scramble_buffers=0",
      "--lat_percentiles=1",
      "--clat_percentiles=0",
      "--percentile_list=50:90:99:99.9",
      run.huge_pages ? "--iomem=mmaphuge" : "--iomem=mmap"};
  if (run.huge_pages) words.emplace_back("--hugepage-size=2m");
  if (run.fill == LoadFill::words) words.emplace_back("--buffer_pattern=0x1122334455667788");
  if (run.max_bytes > 0)
    words.push_back(fmt::format("--io_size={}", run.max_bytes / run.block_bytes * run.block_bytes));
  else
    words.emplace_back("--time_based");
  words.insert(words.end(), run.more.begin(), run.more.end());
  for (std::size_t job = 0; job < run.files.size(); ++job) {
    const std::int64_t bytes =
        job < run.file_bytes_of_job.size() ? run.file_bytes_of_job[job] : run.file_bytes;
    const std::int64_t file_bytes = bytes / run.block_bytes * run.block_bytes;
    words.push_back(fmt::format("--name=rank{}", job));
    words.push_back(fmt::format("--filesize={}", file_bytes));
    words.push_back("--filename=" + names(run.files[job]));
    words.push_back(fmt::format("--size={}", file_bytes * std::ssize(run.files[job])));
  }
  return words;
}

FioResult parse_fio(std::string_view output, int status) {
  const auto fail = [&](std::string_view why) {
    throw Error(Errc::io_error,
                fmt::format("fio failed ({}, status {}): {}", why,
                            WIFEXITED(status) ? WEXITSTATUS(status) : -1, first_words(output)));
  };
  const json said = json::parse(object_in(output), nullptr, false);
  if (status != 0) fail("it says so");
  if (said.is_discarded()) fail("no JSON");
  try {
    if (said.at("jobs").size() != 1) fail("not one group of jobs");
    const json& group = said["jobs"][0];
    if (group.value("error", 0) != 0) fail("a job has an error");
    FioResult result;
    const json &read = group.at("read"), &write = group.at("write");
    result.read_bytes = read.at("io_bytes");
    result.written_bytes = write.at("io_bytes");
    // Of the longest job.
    result.seconds =
        1e-3 * std::max(read.at("runtime").get<double>(), write.at("runtime").get<double>());
    result.read_latency = latency_in(read);
    result.write_latency = latency_in(write);
    if (result.seconds <= 0 || result.read_bytes + result.written_bytes <= 0) fail("nothing moved");
    return result;
  } catch (const json::exception& error) {
    fail(error.what());
  }
  return {};
}

std::string Fio::version() {
  try {
    PipedProcess fio({"fio", "--version"}, {.errors = true});
    const std::string line = fio.read_line().value_or("");
    return fio.wait() == 0 && line.starts_with("fio") ? line : "";
  } catch (const Error&) {
    return {};
  }
}

Fio::Fio(std::string engine, Launcher launcher) : launcher_(std::move(launcher)) {
  if (version().empty())
    throw Error(Errc::not_found, fmt::format("there is no fio here; {}", how_to_install));
  if (engine.empty()) {
    ways_ = {{"io_uring", true}, {"io_uring", false}, {"libaio", false}};
  } else if (engine == "io_uring") {
    ways_ = {{engine, true}, {engine, false}};
  } else {
    ways_ = {{engine, false}};
  }
}

FioResult Fio::run_one_way(const FioRun& run, const Way& way, const OnTick& on_tick) const {
  std::vector<std::string> command =
      launcher_ ? launcher_(!run.huge_pages) : std::vector<std::string>{};
  command.emplace_back("fio");
  command.push_back("--ioengine=" + way.engine);
  if (way.registered) {
    command.emplace_back("--registerfiles=1");
    command.emplace_back("--fixedbufs=1");
  }
  for (std::string& word : fio_arguments(run)) command.push_back(std::move(word));
  PipedProcess fio(command, {.errors = true});
  std::string text;
  while (const auto line = fio.read_line(on_tick)) text += *line + "\n";
  const int status = fio.wait();
  FioResult result = parse_fio(text, status);
  result.cpu_seconds = fio.cpu_seconds();
  return result;
}

FioResult Fio::run(const FioRun& run, const OnTick& on_tick) {
  std::exception_ptr first;
  for (std::size_t way = 0; way < ways_.size(); ++way) try {
      FioResult result = run_one_way(run, ways_[way], on_tick);
      ways_.erase(ways_.begin(), ways_.begin() + static_cast<std::ptrdiff_t>(way));
      return result;
    } catch (const Error&) {
      if (!first) first = std::current_exception();
    }
  std::rethrow_exception(first);
}

double Fio::start_cpu_seconds(FioRun run, int tries) {
  run.more.emplace_back("--number_ios=1");
  run.max_bytes = run.block_bytes;
  double least = 0;
  for (int i = 0; i < tries; ++i) {
    const double cost = this->run(run).cpu_seconds;
    if (i == 0 || cost < least) least = cost;
  }
  return least;
}

std::string Fio::engine() const {
  return ways_[0].engine + (ways_[0].registered ? ", registered files, fixed buffers" : "");
}

}  // namespace spillway::tool
