#include "state_hash.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <new>

namespace spillway::demo {

struct StateHasher::Stream {
  Stream() : state(XXH3_createState()) {
    if (state == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(state);
  }
  ~Stream() { XXH3_freeState(state); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  XXH3_state_t* state;
};

StateHasher::StateHasher(std::size_t tensors) {
  for (std::size_t i = 0; i < tensors * state_names.size(); ++i)
    streams_.push_back(std::make_unique<Stream>());
}
StateHasher::~StateHasher() = default;
StateHasher::StateHasher(StateHasher&&) noexcept = default;

void StateHasher::add(std::size_t tensor, std::size_t state, std::span<const std::byte> bytes) {
  XXH3_128bits_update(streams_[tensor * state_names.size() + state]->state, bytes.data(),
                      bytes.size());
}

Hashes StateHasher::digest() const {
  Hashes hashes(streams_.size() / state_names.size());
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    const XXH128_hash_t hash = XXH3_128bits_digest(streams_[i]->state);
    hashes[i / state_names.size()][i % state_names.size()] =
        fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
  }
  return hashes;
}

std::optional<Difference> first_difference(const Model& model, const Hashes& a, const Hashes& b) {
  for (std::size_t t = 0; t < model.tensors.size(); ++t)
    for (std::size_t s = 0; s < state_names.size(); ++s)
      if (a.at(t)[s] != b.at(t)[s])
        return Difference{model.tensors[t].name, std::string(state_names[s])};
  return std::nullopt;
}

}  // namespace spillway::demo
