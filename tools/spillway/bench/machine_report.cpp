#include "bench/machine_report.h"

#include <fmt/core.h>
#include <gnu/libc-version.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <set>
#include <string_view>
#include <thread>

#include "bench/fio.h"
#include "demo_report.h"
#include "process_figures.h"

namespace spillway::tool {
namespace {

using nlohmann::ordered_json;

// Controllers and disks keep up to about that much in memory of their own.
constexpr std::int64_t device_cache_bytes = std::int64_t{1} << 30;
// Others' load: a share of the processors, and of the time in which somebody waits for I/O.
constexpr double busy_share = 0.25;
constexpr double busy_io_percent = 10;
constexpr auto look = std::chrono::milliseconds(333);

std::string text_of(const char* file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::string first_word(const char* file) {
  std::ifstream stream(file);
  std::string word;
  stream >> word;
  return word;
}

std::string processor_name() {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with("model name")) continue;
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "?";
}

std::string huge_page_mode() {
  const std::string line = text_of("/sys/kernel/mm/transparent_hugepage/enabled");
  const std::size_t open = line.find('['), close = line.find(']');
  return open == std::string::npos || close < open ? "?" : line.substr(open + 1, close - open - 1);
}

int count_numa_nodes() {
  int nodes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/devices/system/node", error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("node") && name.find_first_not_of("0123456789", 4) == std::string::npos)
      ++nodes;
  }
  return nodes > 0 ? nodes : 1;
}

// "some avg10=12.34 avg60=... total=1234": [us] in which somebody waited for I/O; -1: not told.
std::int64_t waited_us() {
  const std::string text = text_of("/proc/pressure/io");
  const std::size_t at = text.find("total=");
  return at == std::string::npos ? -1 : std::strtoll(text.c_str() + at + 6, nullptr, 10);
}

// "cpu  user nice system idle iowait irq softirq steal ...", in ticks of all processors; the
// guests' time stands in the first two, and what the host took away counts as busy.
std::int64_t busy_ticks() {
  std::ifstream stream("/proc/stat");
  std::string name;
  std::int64_t user = 0, nice = 0, system = 0, idle = 0, waiting = 0, irq = 0, soft = 0, steal = 0;
  stream >> name >> user >> nice >> system >> idle >> waiting >> irq >> soft >> steal;
  return user + nice + system + irq + soft + steal;
}

// What our own last runs did is in all the kernel's averages; what happens now is not ours.
void look_at_others(MachineReport& machine) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const std::int64_t waited = waited_us(), busy = busy_ticks();
  std::this_thread::sleep_for(look);
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  machine.busy = static_cast<double>(busy_ticks() - busy) / seconds /
                 static_cast<double>(::sysconf(_SC_CLK_TCK));
  if (waited >= 0)
    machine.io_pressure =
        std::min(100.0, 1e-4 * static_cast<double>(waited_us() - waited) / seconds);
}

Place place_of(const std::filesystem::path& directory) {
  Place place;
  std::error_code error;
  const std::filesystem::path canonical = std::filesystem::weakly_canonical(directory, error);
  place.path = (error ? directory : canonical).string();
  if (auto mount = mount_of(text_of("/proc/self/mountinfo"), place.path)) place.mount = *mount;
  place.device = block_device(place.mount.device);
  // Btrfs and its kind give their files a number of their own; the mount's source is the device.
  struct stat source {};
  if (!place.device && ::major(place.mount.device) == 0 &&
      place.mount.source.starts_with("/dev/") && ::stat(place.mount.source.c_str(), &source) == 0 &&
      S_ISBLK(source.st_mode))
    place.device = block_device(source.st_rdev);
  return place;
}

ordered_json text_or_null(const std::string& text) {
  return text.empty() ? ordered_json() : ordered_json(text);
}

ordered_json number_or_null(std::int64_t number) {
  return number < 0 ? ordered_json() : ordered_json(number);
}

ordered_json device_json(const BlockDevice& device) {
  return {{"name", device.name},
          {"model", text_or_null(device.model)},
          {"driver", text_or_null(device.driver)},
          {"bytes", device.bytes},
          {"scheduler", text_or_null(device.scheduler)},
          {"max_sectors_kb", number_or_null(device.max_sectors_kb)},
          {"max_segments", number_or_null(device.max_segments)},
          {"nr_requests", number_or_null(device.queue_requests)},
          {"numa_node", number_or_null(device.numa_node)},
          {"rotational", device.rotational},
          {"virtual", device.is_virtual},
          {"in_memory", device.in_memory}};
}

std::string device_text(const BlockDevice& device) {
  std::string text = device.name;
  if (!device.model.empty() || !device.driver.empty())
    text += fmt::format(" ({})", device.model.empty() ? device.driver : device.model);
  text += ", " + demo::bytes_text(device.bytes);
  if (!device.scheduler.empty()) text += ", scheduler " + device.scheduler;
  if (device.max_sectors_kb >= 0) text += fmt::format(", max_sectors_kb {}", device.max_sectors_kb);
  if (device.numa_node >= 0) text += fmt::format(", NUMA node {}", device.numa_node);
  return text;
}

void warn_of_device(const BlockDevice& device, std::int64_t file_bytes,
                    std::vector<std::string>& warnings) {
  if (device.in_memory) {
    warnings.push_back(fmt::format(
        "{} keeps its data in this machine's memory or in a file: no rate of a disk", device.name));
  } else if (device.is_virtual) {
    warnings.push_back(fmt::format(
        "{} is a virtual disk: its host may cache and share it, so the rates are of this moment; "
        "trust the ratios only",
        device.name));
  } else if (file_bytes < device_cache_bytes) {
    warnings.push_back(fmt::format(
        "the files hold {}, and {} may keep up to {} in a cache of its own; larger ones tell more",
        demo::bytes_text(file_bytes), device.name, demo::bytes_text(device_cache_bytes)));
  }
}

}  // namespace

MachineReport look_at_machine(const std::vector<std::filesystem::path>& directories) {
  MachineReport machine;
  utsname kernel{};
  ::uname(&kernel);
  machine.processor = processor_name();
  machine.kernel = kernel.release;
  machine.libc = fmt::format("glibc {}", ::gnu_get_libc_version());
#ifdef __clang__
  machine.compiler = "clang " __VERSION__;
#else
  machine.compiler = "g++ " __VERSION__;
#endif
#ifndef __OPTIMIZE__
  machine.debug_build = true;
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  machine.sanitized = true;
#endif
  machine.build = machine.sanitized ? "sanitized" : machine.debug_build ? "debug" : "release";
  machine.version = SPILLWAY_VERSION;
  machine.fio = Fio::version();
  machine.huge_pages = huge_page_mode();
  machine.governor = first_word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  machine.processors = usable_processors();
  machine.numa_nodes = count_numa_nodes();
  machine.memory_bytes = proc_bytes("/proc/meminfo", "MemTotal");
  machine.available_bytes = available_memory_bytes();
  machine.load = std::strtod(first_word("/proc/loadavg").c_str(), nullptr);
  look_at_others(machine);
  for (const std::filesystem::path& directory : directories)
    machine.places.push_back(place_of(directory));
  return machine;
}

std::vector<std::string> warnings_of(const MachineReport& machine, std::int64_t file_bytes) {
  std::vector<std::string> warnings;
  if (machine.debug_build)
    warnings.emplace_back(
        "this spillway was built without optimization: its figures mean nothing; configure with "
        "--preset release");
  if (machine.sanitized)
    warnings.emplace_back(
        "this spillway was built with sanitizers: its figures mean nothing; configure with "
        "--preset release");
  if (!machine.governor.empty() && machine.governor != "performance")
    warnings.push_back(
        fmt::format("the processors' clock changes (governor {}): cpupower frequency-set -g "
                    "performance",
                    machine.governor));
  if (machine.busy > busy_share * machine.processors)
    warnings.push_back(
        fmt::format("a busy machine: others kept {:.1f} of {} processors busy just now",
                    machine.busy, machine.processors));
  if (machine.io_pressure > busy_io_percent)
    warnings.push_back(
        fmt::format("somebody waited for I/O in {:.0f} % of the time just before: the disk is not "
                    "ours alone",
                    machine.io_pressure));
  std::set<std::string> seen;
  for (const Place& place : machine.places) {
    if (file_bytes <= 0) break;
    if (!place.device) {
      if (seen.insert(place.mount.type).second)
        warnings.push_back(fmt::format(
            "{} is on {}, which has no block device: nothing counts the bytes that really move",
            place.path, place.mount.type.empty() ? "?" : place.mount.type));
    } else if (seen.insert(place.device->name).second) {
      warn_of_device(*place.device, file_bytes, warnings);
    }
  }
  return warnings;
}

void say(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) fmt::print(stderr, "warning: {}\n", warning);
}

ordered_json to_json(const MachineReport& machine) {
  ordered_json places = ordered_json::array();
  for (const Place& place : machine.places)
    places.push_back({{"path", place.path},
                      {"file_system", text_or_null(place.mount.type)},
                      {"mount_point", text_or_null(place.mount.point)},
                      {"mount_source", text_or_null(place.mount.source)},
                      {"mount_options", text_or_null(place.mount.options)},
                      {"device", place.device ? device_json(*place.device) : ordered_json()}});
  return {{"processor", machine.processor},
          {"processors", machine.processors},
          {"numa_nodes", machine.numa_nodes},
          {"memory_bytes", machine.memory_bytes},
          {"available_bytes", machine.available_bytes},
          {"kernel", machine.kernel},
          {"libc", machine.libc},
          {"compiler", machine.compiler},
          {"build", machine.build},
          {"spillway", machine.version},
          {"fio", text_or_null(machine.fio)},
          {"transparent_huge_pages", machine.huge_pages},
          {"governor", text_or_null(machine.governor)},
          {"load", machine.load},
          {"busy_processors", machine.busy},
          {"io_pressure_percent",
           machine.io_pressure < 0 ? ordered_json() : ordered_json(machine.io_pressure)},
          {"paths", std::move(places)}};
}

std::string to_text(const MachineReport& machine) {
  std::string text = fmt::format(
      "{}, {} processors, {}, Linux {}, spillway {} ({}, {}), {}\n", machine.processor,
      machine.processors, demo::bytes_text(machine.memory_bytes), machine.kernel, machine.version,
      machine.build, machine.compiler, machine.fio.empty() ? "no fio" : machine.fio);
  for (const Place& place : machine.places)
    text += fmt::format("{}: {} ({}) on {}\n", place.path, place.mount.type, place.mount.options,
                        place.device ? device_text(*place.device) : place.mount.source);
  return text;
}

}  // namespace spillway::tool
