#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "spillway/spillway.h"

namespace spillway::test {

/// AdamW in plain memory, element by element: what every offloaded run must equal bit for bit.
inline float gradient(std::uint64_t tag, std::int64_t element, std::int64_t step) {
  std::uint64_t x = tag * 0x9e3779b97f4a7c15u +
                    static_cast<std::uint64_t>(element) * 0xbf58476d1ce4e5b9u +
                    static_cast<std::uint64_t>(step) * 0x94d049bb133111ebu;
  x ^= x >> 31;
  x *= 0xd6e8feb86659fd93u;
  x ^= x >> 32;
  return static_cast<float>(static_cast<std::int32_t>(x)) * 0x1p-31f;
}

inline void adamw(float& w, float& m, float& v, float g, std::int64_t step) {
  const float correct1 = 1 - std::pow(0.9f, static_cast<float>(step));
  const float correct2 = 1 - std::pow(0.999f, static_cast<float>(step));
  m = 0.9f * m + 0.1f * g;
  v = 0.999f * v + 0.001f * g * g;
  w -= 1e-3f * (m / correct1 / (std::sqrt(v / correct2) + 1e-8f) + 0.01f * w);
}

struct Twin {
  struct Param {
    std::uint64_t tag;
    std::vector<float> w, m, v;
  };
  std::vector<Param> params;

  void add(std::uint64_t tag, std::int64_t elements) {
    Param param{tag, {}, {}, {}};
    for (std::int64_t i = 0; i < elements; ++i) param.w.push_back(gradient(tag, i, 0));
    param.m.assign(param.w.size(), 0);
    param.v.assign(param.w.size(), 0);
    params.push_back(std::move(param));
  }
  void step(std::int64_t n) {
    for (Param& param : params) step(param, n);
  }
  static void step(Param& param, std::int64_t n) {
    for (std::size_t i = 0; i < param.w.size(); ++i)
      adamw(param.w[i], param.m[i], param.v[i],
            gradient(param.tag, static_cast<std::int64_t>(i), n), n);
  }
};

/// The same update on a slice of an offloaded parameter with states w, m, v.
inline void update(const Slice& slice, std::int64_t n) {
  const auto w = slice.of<float>("w"), m = slice.of<float>("m"), v = slice.of<float>("v");
  for (std::size_t i = 0; i < w.size(); ++i)
    adamw(w[i], m[i], v[i], gradient(slice.tag, slice.offset + static_cast<std::int64_t>(i), n), n);
}

}  // namespace spillway::test
