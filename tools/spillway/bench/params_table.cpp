#include <fmt/core.h>

#include "bench/params_report.h"
#include "demo_report.h"

namespace spillway::params {

std::string to_table(const Report& report) {
  const OffloadParamConfig& offload = report.config.offload_param;
  std::string text = tool::to_text(report.machine);
  for (const std::string& warning : report.warnings) text += "warning: " + warning + "\n";
  text += fmt::format(
      "{}, {} parameters (bf16, {}) in {} tensors of {} units{}\n", report.model,
      demo::grouped(report.params), demo::bytes_text(report.bytes), report.tensors, report.units,
      report.layers < report.whole_layers
          ? fmt::format("; the first {} of {} layers", report.layers, report.whole_layers)
          : "");
  text += fmt::format(
      "{}, {} ms of thinking per unit; pool {} x {}; engine {}, direct I/O {}\n\n",
      name_of(report.trace), report.think_ms, offload.buffer_count,
      demo::bytes_text(offload.buffer_size), report.context.engine,
      !report.context.paths.empty() && report.context.paths[0].direct_io ? "yes" : "no");
  text += fmt::format("{:>12} {:>5} {:>9} {:>9} {:>8} {:>8} {:>8} {:>11} {:>11} {:>11} {:>11}\n",
                      "cap", "pass", "seconds", "stalled", "hit", "LRU", "Belady", "read",
                      "written", "peak cache", "peak pool");
  for (const Result& result : report.results) {
    const PassFigures& figures = result.figures;
    text += fmt::format(
        "{:>12} {:>5} {:>9.3f} {:>7.1f} % {:>8.4f} {:>8.4f} {:>8.4f} {:>11} {:>11} {:>11} {:>11}\n",
        result.cap.text, result.pass, figures.seconds,
        100 * figures.stall_seconds / figures.seconds, figures.hit_rate(), result.lru_hit_rate,
        result.belady_hit_rate, demo::bytes_text(figures.bytes_read),
        demo::bytes_text(figures.bytes_written), demo::bytes_text(result.peak_cached_bytes),
        demo::bytes_text(result.peak_pool_bytes));
  }
  return text;
}

}  // namespace spillway::params
