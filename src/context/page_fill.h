#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "spillway/path_load.h"

namespace spillway {

/// Contents of load files: pages of 4096 bytes, each of which shows by itself that it is whole,
/// whichever run wrote it.
///
/// random: a first word that differs from page to page, and the pseudo-random words that follow
/// from it. words: the page's number in `memory`, from 1, over and over.
void fill_pages(std::span<std::byte> memory, LoadFill fill, std::uint64_t seed);

/// Whether a page is one that fill_pages() made. A page of zeros is none.
bool whole_page(std::span<const std::byte> page, LoadFill fill);

}  // namespace spillway
