#include "fio_load.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <fstream>
#include <string_view>
#include <utility>

#include "machine.h"
#include "piped_process.h"

#include "spillway/error.h"

namespace spillway::bench {

bool FioLoad::installed() {
  try {
    return tool::PipedProcess({"fio", "--version"}).wait() == 0;
  } catch (const Error&) {
    return false;
  }
}

bool FioLoad::huge_pages_free_for(std::int64_t bytes) {
  std::ifstream file("/proc/meminfo");
  constexpr std::string_view name = "HugePages_Free:";
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(name))
      return std::strtoll(line.c_str() + name.size(), nullptr, 10) * 2 * 1024 * 1024 >= bytes;
  return false;
}

FioLoad::FioLoad(FioLoadSettings settings) : settings_(std::move(settings)) {
  // The cheapest of three: what is above it is noise.
  for (int i = 0; i < 3; ++i) {
    const double cost = run(Pattern::read, "--number_ios=1").cpu_seconds;
    if (i == 0 || cost < start_cpu_seconds_) start_cpu_seconds_ = cost;
  }
}

Sample FioLoad::run(Pattern pattern, double seconds) const {
  Sample sample = run(pattern, fmt::format("--runtime={:.0f}ms", seconds * 1000));
  sample.cpu_seconds -= start_cpu_seconds_;
  return sample;
}

Sample FioLoad::run(Pattern pattern, const std::string& bound) const {
  std::vector<std::string> command{
      "fio",
      "--name=fio",
      "--output-format=json",
      "--filename=" + settings_.file.string(),
      fmt::format("--size={}", settings_.file_bytes),
      fmt::format("--rw={}", pattern == Pattern::mixed ? "rw" : name_of(pattern)),
      fmt::format("--bs={}", settings_.block_bytes),
      fmt::format("--iodepth={}", settings_.depth),
      "--ioengine=" + settings_.engine,
      fmt::format("--direct={}", settings_.direct ? 1 : 0),
      "--thread",
      "--overwrite=1",
      "--scramble_buffers=0",
      settings_.huge_pages ? "--iomem=mmaphuge" : "--iomem=mmap",
      bound};
  if (bound.starts_with("--runtime")) command.emplace_back("--time_based");
  if (settings_.engine == "io_uring") {
    command.emplace_back("--registerfiles=1");
    command.emplace_back("--fixedbufs=1");
  }
  if (settings_.huge_pages) command.emplace_back("--hugepage-size=2m");
  if (settings_.data == Data::word) command.emplace_back("--buffer_pattern=0x1122334455667788");
  command.insert(command.end(), settings_.more.begin(), settings_.more.end());

  const double cpu = children_cpu_seconds();
  tool::PipedProcess fio(command);
  std::string text;
  while (const auto line = fio.read_line()) text += *line + "\n";
  const int status = fio.wait();
  const std::size_t begin = text.find('{');
  const auto result = begin == std::string::npos
                          ? nlohmann::json()
                          : nlohmann::json::parse(text.substr(begin), nullptr, false);
  if (status != 0 || !result.is_object() || !result.contains("jobs"))
    throw Error(Errc::io_error, fmt::format("fio failed (status {}): {}", status, text));
  const auto& job = result["jobs"][0];
  Sample sample;
  sample.read_bytes = job["read"]["io_bytes"];
  sample.written_bytes = job["write"]["io_bytes"];
  sample.seconds = 1e-3 * job["job_runtime"].get<double>();
  sample.cpu_seconds = children_cpu_seconds() - cpu;
  return sample;
}

}  // namespace spillway::bench
