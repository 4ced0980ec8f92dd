#include "store/seal.h"

#include <fmt/core.h>
#ifdef SPILLWAY_XXHASH_DISPATCH
#include <xxh_x86dispatch.h>  // puts its own names in the place of XXH3_64bits
#else
#include <xxhash.h>
#endif

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace spillway::store {
namespace {

struct Trailer {
  std::uint64_t magic = 0;
  std::uint64_t instance = 0;
  std::uint64_t number = 0;
  std::int64_t payload = 0;
  std::uint64_t section = 0;
  std::int64_t place = 0;
  std::uint64_t own_checksum = 0;  // over what stands before it
};

constexpr std::uint64_t trailer_magic = 0x31'79'61'77'6c'6c'69'70;  // "pillway1"

std::uint64_t own_checksum(const Trailer& trailer) {
  return XXH3_64bits(&trailer, offsetof(Trailer, own_checksum));
}

Trailer expected(const SealInput& input, std::uint64_t instance, std::uint64_t number,
                 std::int64_t place) {
  Trailer trailer{trailer_magic, instance, number, input.payload, input.section, place, 0};
  trailer.own_checksum = own_checksum(trailer);
  return trailer;
}

std::int64_t offset_of(const SealInput& input, std::int64_t place) {
  return place == 0 ? input.body - trailer_bytes : input.body + (place - 1) * input.guard;
}

}  // namespace

std::uint64_t checksum(const SealInput& input, const std::byte* data) {
  return XXH3_64bits(data, static_cast<std::size_t>(input.payload));
}

std::uint64_t block_seal(const std::byte* data, std::int64_t bytes, bool every_byte) {
  constexpr std::int64_t guarded = 64;
  if (!every_byte && bytes > guarded) {
    const std::byte* const tail = data + bytes - guarded;
    const bool zeros =
        std::all_of(tail, data + bytes, [](std::byte b) { return b == std::byte{0}; });
    if (!zeros) {
      data = tail;
      bytes = guarded;
    }
  }
  const std::uint64_t seal = XXH3_64bits(data, static_cast<std::size_t>(bytes));
  return seal != 0 ? seal : 1;
}

void put_trailer(const SealInput& input, std::uint64_t instance, std::uint64_t number,
                 std::byte* data) {
  SPILLWAY_CHECK(input.payload + trailer_bytes <= input.body, "the trailer has its own place");
  for (std::int64_t place = 0; place <= input.guards; ++place) {
    const Trailer trailer = expected(input, instance, number, place);
    std::byte* const at = data + offset_of(input, place);
    std::memcpy(at, &trailer, sizeof trailer);
    std::memset(at + sizeof trailer, 0, static_cast<std::size_t>(trailer_bytes) - sizeof trailer);
  }
}

std::optional<std::string> check_trailer(const SealInput& input, std::uint64_t instance,
                                         std::uint64_t number, const std::byte* data,
                                         std::int64_t place) {
  const Trailer want = expected(input, instance, number, place);
  Trailer got;
  const std::byte* const at = data + offset_of(input, place);
  std::memcpy(&got, at, sizeof got);
  if (std::memcmp(&got, &want, sizeof got) == 0) return std::nullopt;
  if (std::all_of(at, at + trailer_bytes, [](std::byte b) { return b == std::byte{0}; })) {
    return "its trailer reads as zeros, as after a truncation";
  }
  if (got.magic != trailer_magic || got.own_checksum != own_checksum(got)) {
    return "its trailer is damaged";
  }
  return fmt::format(
      "expected the trailer of section {} write {} instance {:016x}, got section {} write {} "
      "instance {:016x}",
      want.section, want.number, want.instance, got.section, got.number, got.instance);
}

}  // namespace spillway::store
