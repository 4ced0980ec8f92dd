#include "demo_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>

namespace spillway::demo {
namespace {

std::string device_name(OffloadDevice device) {
  switch (device) {
    case OffloadDevice::none: return "none";
    case OffloadDevice::cpu: return "cpu";
    case OffloadDevice::nvme: return "nvme";
  }
  return "?";
}

double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

// A table of two columns.
class Table {
 public:
  template <typename... Args>
  void row(std::string_view name, fmt::format_string<Args...> format, Args&&... args) {
    text_ += fmt::format("  {:<24}{}\n", name, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    text_ += fmt::format(format, std::forward<Args>(args)...) + "\n";
  }
  std::string done() { return std::move(text_); }

 private:
  std::string text_;
};

std::string seconds_text(double seconds) {
  return seconds < 0.1 ? fmt::format("{:.2f} ms", 1e3 * seconds) : fmt::format("{:.3f} s", seconds);
}

std::string spread(const std::vector<double>& seconds) {
  const auto [least, most] = std::minmax_element(seconds.begin(), seconds.end());
  return fmt::format("{}  (median of {}; {} to {})", seconds_text(median(seconds)), seconds.size(),
                     seconds_text(*least), seconds_text(*most));
}

void tell_times(const Report& report, Table& table) {
  table.row("step, offloaded", "{}", spread(report.step_seconds));
  if (report.compared()) {
    table.row("step, in memory", "{}", spread(report.in_memory_step_seconds));
    table.row("offloaded / in memory", "{:.2f}",
              median(report.step_seconds) / median(report.in_memory_step_seconds));
  } else {
    table.row("step, in memory", "left out: {}", report.in_memory_left_out);
  }
  const double seconds = sum(report.step_seconds);
  const double waited =
      report.stall_read_seconds + report.stall_write_seconds + report.stall_buffer_seconds;
  table.row("of the step, waiting", "{:.0f} %  (read {:.0f} %, write {:.0f} %, buffer {:.0f} %)",
            100 * waited / seconds, 100 * report.stall_read_seconds / seconds,
            100 * report.stall_write_seconds / seconds,
            100 * report.stall_buffer_seconds / seconds);
  table.row("of the step, computing", "{:.0f} %  (and checksums {:.0f} %)",
            100 * report.compute_seconds / seconds, 100 * report.checksum_seconds / seconds);
  table.row("set-up", "{}", seconds_text(report.setup_seconds));
}

void tell_bytes(const Report& report, Table& table) {
  const double seconds = sum(report.step_seconds);
  table.row("per parameter and step", "{:.2f} bytes read, {:.2f} written",
            report.bytes_read_per_param, report.bytes_written_per_param);
  table.row("rate", "{:.2f} GB/s read, {:.2f} GB/s written",
            static_cast<double>(report.bytes_read) / seconds / 1e9,
            static_cast<double>(report.bytes_written) / seconds / 1e9);
  if (report.context.engine.empty()) return;
  table.row("engine", "{}", report.context.engine);
  for (const std::string& reason : report.context.engine_reasons) table.row("", "{}", reason);
  for (const PathStats& path : report.context.paths) {
    table.row("path", "{} ({}), {} allocated", path.path, path.file_system,
              bytes_text(path.allocated_bytes));
    table.row("direct I/O", "{}: {}", path.direct_io ? "yes" : "no", path.direct_io_proof);
    if (!path.space_guaranteed) table.row("", "space is not guaranteed on this file system");
  }
}

void tell_memory(const Report& report, Table& table) {
  const MemoryStats& memory = report.optimizer.memory;
  table.row("pool", "{} buffers of {}; {} mapped", report.optimizer.buffers,
            bytes_text(report.optimizer.tile_bytes), bytes_text(memory.region_bytes));
  table.row("pinned", "{} asked for, {} got  (locked {}, registered {})",
            bytes_text(memory.pinned_bytes_requested), bytes_text(memory.pinned_bytes),
            bytes_text(memory.locked_bytes), bytes_text(memory.registered_bytes));
  table.row("huge pages", "{:.0f} % of the pool", 100 * memory.huge_page_share);
  table.row("resident share", "{} in memory  ({} of {} tiles)",
            bytes_text(memory.resident_share_bytes), report.optimizer.resident_tiles,
            report.optimizer.tiles);
  table.row("peak RSS", "{}; {} over pool and resident share", bytes_text(report.peak_rss_bytes),
            bytes_text(report.rss_over_pool_bytes()));
}

}  // namespace

bool Report::direct_io() const {
  return !context.paths.empty() &&
         std::ranges::all_of(context.paths, [](const PathStats& path) { return path.direct_io; });
}

std::int64_t Report::rss_over_pool_bytes() const {
  return peak_rss_bytes - optimizer.memory.region_bytes - optimizer.memory.resident_share_bytes;
}

std::string grouped(std::int64_t value) {
  std::string text = std::to_string(value);
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3)
    text.insert(static_cast<std::size_t>(at), ",");
  return text;
}

std::string bytes_text(std::int64_t bytes) {
  constexpr std::array<std::string_view, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; (value >= 1024 || value <= -1024) && unit + 1 < units.size(); ++unit) value /= 1024;
  if (value == static_cast<double>(static_cast<std::int64_t>(value)))
    return fmt::format("{:.0f} {}", value, units[unit]);
  return fmt::format("{:.2f} {}", value, units[unit]);
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::string to_table(const Report& report) {
  Table table;
  const OffloadOptimizerConfig& offload = report.config.offload_optimizer;
  table.line("{}, {} parameters in {} tensors{}; AdamW ({}, {} threads), {} steps, seed {}",
             report.model, grouped(report.params), report.tensors,
             report.layers < report.whole_layers
                 ? fmt::format(" (the first {} of {} layers)", report.layers, report.whole_layers)
                 : "",
             report.kernel, report.threads, report.steps, report.seed);
  table.line("{} of state: device {}, ratio {}, read-ahead {}, write-behind {}, checksums {}",
             bytes_text(12 * report.params), device_name(offload.device), offload.ratio,
             offload.pipeline_read ? "on" : "off", offload.pipeline_write ? "on" : "off",
             report.config.io.checksums ? "on" : "off");
  table.line("");
  tell_times(report, table);
  tell_bytes(report, table);
  tell_memory(report, table);
  table.line("");
  if (!report.compared())
    table.line("Not compared: {}.", report.in_memory_left_out);
  else if (report.difference)
    table.line("NOT BIT EXACT: {} of {} is the first state that differs from the run in memory.",
               report.difference->state, report.difference->tensor);
  else
    table.line("Bit exact: all {} states of {} tensors equal those of the run in memory.",
               state_names.size() * static_cast<std::size_t>(report.tensors), report.tensors);
  return table.done();
}

}  // namespace spillway::demo
