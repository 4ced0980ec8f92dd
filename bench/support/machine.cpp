#include "machine.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>

namespace spillway::bench {
namespace {

// "name : value" of a file under /proc, or "?".
std::string value_in(const char* file, std::string_view name) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with(name)) continue;
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "?";
}

double cpu_seconds_of(int who) {
  rusage usage{};
  ::getrusage(who, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

bool tiny() {
  const char* const wish = std::getenv("SPILLWAY_BENCH_TINY");
  return wish != nullptr && std::string_view(wish) == "1";
}

std::string machine_line() {
  utsname kernel{};
  ::uname(&kernel);
  const double kib = std::strtod(value_in("/proc/meminfo", "MemTotal").c_str(), nullptr);
  return fmt::format("{}, {} processors, {:.0f} GiB, Linux {}, g++ {}",
                     value_in("/proc/cpuinfo", "model name"), std::thread::hardware_concurrency(),
                     kib / 1024 / 1024, kernel.release, __VERSION__);
}

std::string place_line(const std::filesystem::path& folder) {
  // The mount whose point is the longest prefix; of several there, the last is on top.
  const std::string path = std::filesystem::weakly_canonical(folder).string() + "/";
  std::ifstream mounts("/proc/self/mounts");
  std::string best = "?";
  std::size_t longest = 0;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string source, point, type, options;
    fields >> source >> point >> type >> options;
    const std::string prefix = point == "/" ? "/" : point + "/";
    if (!path.starts_with(prefix) || prefix.size() < longest) continue;
    longest = prefix.size();
    best = fmt::format("{} on {}, {}", type, source, options);
  }
  return best;
}

std::vector<std::string> doubts() {
  std::vector<std::string> found;
#ifndef __OPTIMIZE__
  found.emplace_back("a build without optimization: configure with --preset release");
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  found.emplace_back("a build with sanitizers: configure with --preset release");
#endif
  if (tiny()) found.emplace_back("SPILLWAY_BENCH_TINY=1: the smallest sizes");
  std::ifstream governor("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  if (std::string name; governor >> name && name != "performance")
    found.push_back(fmt::format(
        "the clock changes (governor {}): cpupower frequency-set -g performance", name));
  std::ifstream load("/proc/loadavg");
  const double processors = static_cast<double>(std::thread::hardware_concurrency());
  if (double minute = 0; load >> minute && minute > 0.5 * processors)
    found.push_back(
        fmt::format("a busy machine: load {:.1f} on {:.0f} processors in the last "
                    "minute",
                    minute, processors));
  return found;
}

double own_cpu_seconds() { return cpu_seconds_of(RUSAGE_SELF); }
double children_cpu_seconds() { return cpu_seconds_of(RUSAGE_CHILDREN); }

}  // namespace spillway::bench
