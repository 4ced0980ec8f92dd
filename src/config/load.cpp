#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <system_error>

#include "base/log.h"
#include "base/throw.h"
#include "config/json_read.h"
#include "config/reading.h"
#include "config/rules.h"

#include "spillway/config.h"

namespace spillway {
namespace {

using config::Dialect;
using config::JsonValue;
using config::Reading;

// A foreign file may repeat itself without end; nobody reads on after these.
constexpr std::size_t most_notes = 100;

// Every note goes to the log, and to whoever asked for them.
void tell_notes(const Reading& reading, std::string_view name, const LoadOptions& options) {
  std::vector<std::string> notes = reading.notes;
  if (notes.size() > most_notes) {
    const std::size_t more = notes.size() - most_notes;
    notes.resize(most_notes);
    notes.push_back(fmt::format("and {} more", more));
  }
  if (!reading.ignored.empty())
    notes.push_back(
        fmt::format("without meaning here and ignored: {}", config::joined(reading.ignored)));
  for (const std::string& note : notes) {
    const std::string line = fmt::format("{}: {}", name, note);
    log::warning("{}", line);
    if (options.notes) options.notes->push_back(line);
  }
}

// DeepSpeed's own defaults differ from ours in places (queue_depth 8, buffers counted in
// elements), so a file that leans on them deserves a word.
void log_defaults(Reading& reading, std::string_view name) {
  if (!reading.deepspeed() || !log::enabled(LogLevel::info)) return;
  std::vector<std::string> absent;
  for (const config::Section& section : reading.sections)
    for (const config::Field& field : section.fields)
      if (!reading.places.has(section.name, field.key))
        absent.push_back(reading.places.of(section.name, field.key));
  if (!absent.empty())
    log::info("{}: not given, so Spillway's defaults apply: {}", name, config::joined(absent));
}

void log_effective(const Config& config, std::string_view name) {
  if (!log::enabled(LogLevel::info)) return;
  const std::string text = describe(config);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    log::info("{}: {}", name, std::string_view(text).substr(at, end - at));
    at = end + 1;
  }
}

[[noreturn]] void cannot_read(const std::string& name, int error) {
  const std::string reason = std::generic_category().message(error);
  switch (error) {
    case EISDIR: throw_error(Errc::invalid_config, "{}: is a directory; name a file in it", name);
    case ENOENT:
    case ENOTDIR:
      throw_error(Errc::not_found, "{}: there is no such file{}", name,
                  name.starts_with('~') ? "; ~ is not expanded here, write the path out" : "");
    case ELOOP:
    case ENAMETOOLONG: throw_error(Errc::not_found, "{}: cannot be opened: {}", name, reason);
    case EACCES:
    case EPERM:
      throw_error(Errc::permission_denied, "{}: may not be read by this user: {}", name, reason);
    default: throw_error(Errc::io_error, "{}: cannot be read: {}", name, reason);
  }
}

std::string read_text(const std::filesystem::path& file) {
  const std::string name = file.string();
  if (name.empty()) throw_error(Errc::not_found, "the name of the configuration file is empty");
  const auto close = [](std::FILE* stream) { (void)std::fclose(stream); };
  const std::unique_ptr<std::FILE, decltype(close)> stream(std::fopen(name.c_str(), "re"), close);
  if (!stream) cannot_read(name, errno);
  std::string text;
  std::array<char, 16 * 1024> piece;
  // One byte over the limit is enough for read_json to refuse it: /dev/zero ends here.
  while (text.size() <= config::max_text_bytes) {
    const std::size_t got = std::fread(piece.data(), 1, piece.size(), stream.get());
    if (got == 0 && std::ferror(stream.get())) cannot_read(name, errno);
    if (got == 0) break;
    text.append(piece.data(), got);
  }
  return text;
}

}  // namespace

Config parse_config(std::string_view json, const LoadOptions& options, std::string_view name) {
  if (options.ds_element_bytes < 1 || options.ds_element_bytes > 16)
    throw_error(Errc::invalid_argument, "ds_element_bytes must be between 1 and 16, got {}",
                options.ds_element_bytes);
  const JsonValue root = config::read_json(json, name);
  if (!root.is_object())
    throw_error(Errc::invalid_config, "{}: must hold a JSON object, holds {}", name,
                config::shown(root));

  const bool deepspeed = root.find("zero_optimization") != nullptr;
  Reading reading(deepspeed ? Dialect::deepspeed : Dialect::native, options.ds_element_bytes);
  if (deepspeed)
    config::read_deepspeed(root, reading);
  else
    config::read_native(root, reading);
  config::check(reading.result, reading.places, reading.problems);

  tell_notes(reading, name, options);
  reading.problems.throw_if_any(name);
  log_defaults(reading, name);
  log_effective(reading.result, name);
  return reading.result;
}

Config load_config(const std::filesystem::path& file, const LoadOptions& options) {
  return parse_config(read_text(file), options, file.string());
}

}  // namespace spillway
