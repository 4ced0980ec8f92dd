#include "fio.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <utility>
#include <vector>

#include "piped_process.h"

#include "spillway/error.h"

namespace spillway::bench {

std::string Fio::version() {
  try {
    tool::PipedProcess fio({"fio", "--version"});
    return fio.read_line().value_or("");
  } catch (const Error&) {
    return {};
  }
}

Fio::Fio(FioSettings settings) : settings_(std::move(settings)) { run("write", false); }

Fio::Rate Fio::mixed() const { return run("rw", true); }

double Fio::reading() const { return run("read", true).read; }

Fio::Rate Fio::run(const std::string& direction, bool timed) const {
  std::vector<std::string> command{"fio",
                                   "--name=ceiling",
                                   "--output-format=json",
                                   "--filename=" + (settings_.directory / "fio.bin").string(),
                                   fmt::format("--size={}", settings_.file_bytes),
                                   "--rw=" + direction,
                                   fmt::format("--bs={}", settings_.block_bytes),
                                   fmt::format("--iodepth={}", settings_.depth),
                                   "--ioengine=" + settings_.engine,
                                   "--direct=1",
                                   "--fallocate=native",
                                   "--thread",
                                   "--group_reporting",
                                   settings_.huge_pages ? "--iomem=mmaphuge" : "--iomem=mmap"};
  if (settings_.huge_pages) command.emplace_back("--hugepage-size=2m");
  if (timed) {
    if (direction == "rw") command.emplace_back("--rwmixread=50");
    command.emplace_back("--time_based");
    command.push_back(fmt::format("--runtime={}ms", settings_.runtime_ms));
  }
  tool::PipedProcess fio(command);
  std::string text;
  while (const auto line = fio.read_line()) text += *line + "\n";
  const int status = fio.wait();
  // fio says what it has to say before the object.
  const std::size_t begin = text.find('{');
  const auto result = begin == std::string::npos
                          ? nlohmann::json()
                          : nlohmann::json::parse(text.substr(begin), nullptr, false);
  if (status != 0 || !result.is_object() || !result.contains("jobs"))
    throw Error(Errc::io_error, fmt::format("fio failed (status {}): {}", status, text));
  const auto& job = result["jobs"][0];
  return {.read = job["read"]["bw_bytes"], .write = job["write"]["bw_bytes"]};
}

}  // namespace spillway::bench
