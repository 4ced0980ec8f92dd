#include "config/places.h"

namespace spillway::config {

std::string Places::of(std::string_view section) const {
  if (dialect_ == Dialect::deepspeed && section != "io")
    return "zero_optimization." + std::string(section);
  return std::string(section);
}

std::string Places::of(std::string_view section, std::string_view key) const {
  if (const Found* at = find(section, key)) return at->path;
  if (dialect_ == Dialect::deepspeed && section == "io" && !aio_name(key).empty())
    return "aio." + std::string(aio_name(key));
  return of(section) + "." + std::string(key);
}

void Places::found(std::string_view section, std::string_view key, std::string path) {
  found_.push_back({std::string(section), std::string(key), std::move(path)});
}

bool Places::has(std::string_view section, std::string_view key) const {
  return find(section, key) != nullptr;
}

const Places::Found* Places::find(std::string_view section, std::string_view key) const {
  for (const Found& at : found_)
    if (at.section == section && at.key == key) return &at;
  return nullptr;
}

std::string_view aio_name(std::string_view io_key) {
  if (io_key == "block_size" || io_key == "queue_depth") return io_key;
  if (io_key == "threads") return "intra_op_parallelism";
  return {};
}

}  // namespace spillway::config
