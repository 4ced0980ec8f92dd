#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "support/swap_fixture.h"

#include "spillway/spillway.h"

namespace spillway::test {

/// Parameters on `device`: a pool of `count` x `size` bytes, a cache of `cap` elements.
inline Config parameter_config(OffloadDevice device, const std::filesystem::path& path,
                               std::int64_t count = 4, std::int64_t size = 256 * 1024,
                               std::int64_t cap = 0) {
  Config config;
  config.offload_param.device = device;
  if (device == OffloadDevice::nvme) config.offload_param.nvme_path = {path};
  config.offload_param.buffer_count = count;
  config.offload_param.buffer_size = size;
  config.offload_param.max_in_cpu = cap;
  config.io.timeout = 10;
  return config;
}

/// What parameter `tag` holds at `element` in version `version`.
inline float value_of(std::uint64_t tag, std::int64_t element, std::int64_t version) {
  return static_cast<float>((static_cast<std::int64_t>(tag) * 131 + element * 7 + version * 1009) %
                            8388593);
}

inline void fill(std::span<float> to, std::uint64_t tag, std::int64_t offset,
                 std::int64_t version) {
  for (std::size_t i = 0; i < to.size(); ++i)
    to[i] = value_of(tag, offset + static_cast<std::int64_t>(i), version);
}

inline std::vector<float> values(std::uint64_t tag, std::int64_t offset, std::int64_t count,
                                 std::int64_t version) {
  std::vector<float> all(static_cast<std::size_t>(count));
  fill(all, tag, offset, version);
  return all;
}

inline std::vector<float> copy_of(const View& view) {
  const auto all = view.as<const float>();
  return {all.begin(), all.end()};
}

inline std::vector<float> copy_of(const Lease& lease) {
  const auto all = lease.as<const float>();
  return {all.begin(), all.end()};
}

/// Writes version `version` over a range of a parameter.
inline void put(ParameterSwapper& swapper, ParamId id, std::uint64_t tag, std::int64_t version,
                Range range = {}) {
  Lease lease = swapper.fetch(id, Access::overwrite, range);
  fill(lease.as<float>(), tag, lease.tensors()[0].offset, version);
  lease.commit();
}

inline Errc code_of(const std::function<void()>& call, std::string* text = nullptr) {
  try {
    call();
  } catch (const Error& error) {
    if (text != nullptr) *text = error.what();
    return error.code();
  }
  throw std::runtime_error("it threw nothing");
}

}  // namespace spillway::test
