#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace spillway::store {

/// What a section's seal is made of: either a checksum that stays in memory, or a trailer on disk
/// whose number stays in memory.
struct SealInput {
  std::uint32_t section = 0;
  std::int64_t payload = 0;  ///< [bytes]
  std::int64_t body = 0;     ///< [bytes] payload, padding, and the trailer at the end
  std::int64_t guards = 0;   ///< trailers behind it, for the paths where it does not end
  std::int64_t guard = 0;    ///< [bytes] that each of them takes
};

inline constexpr std::int64_t trailer_bytes = 4096;

/// XXH3-64 of the payload. It stays in memory, so it need not tell sections and versions apart by a
/// seed: an older version, another section's bytes, zeros after a truncation have another checksum,
/// and where a misdirected read finds the very same bytes they are the right ones.
std::uint64_t checksum(const SealInput& input, const std::byte* data);

/// A number for a block of bytes that is written in place, kept in memory and compared on reading;
/// never 0, so that 0 can stand for "never written". With `every_byte`, XXH3-64. Else a guard that
/// costs next to nothing and still finds a file that was cut (and grown again, whose tail reads as
/// zeros): the hash of the last 64 bytes, or of all of them where these are zeros anyway.
std::uint64_t block_seal(const std::byte* data, std::int64_t bytes, bool every_byte);

/// Writes the trailer into the last 4 KiB of the body, and one into each guard. `number` is never
/// used twice by a store, so that a trailer names one write of one section of one instance.
void put_trailer(const SealInput& input, std::uint64_t instance, std::uint64_t number,
                 std::byte* data);
/// What is wrong with the trailer, or nullopt. `place` 0: at the end of the body; k: the k-th
/// guard.
std::optional<std::string> check_trailer(const SealInput& input, std::uint64_t instance,
                                         std::uint64_t number, const std::byte* data,
                                         std::int64_t place = 0);

}  // namespace spillway::store
