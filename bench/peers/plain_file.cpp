#include "plain_file.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "base/throw.h"

namespace spillway::bench {

PlainFile::PlainFile(const StepShape& shape, const char* name)
    : shape_(shape),
      name_((shape.folder / name).string()),
      memory_(shape.buffers * shape.tile_bytes,
              {.pin = true, .setting = "--tile-size or --buffers"}) {
  const int flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC;
  fd_ = sys::UniqueFd(::open(name_.c_str(), flags | O_DIRECT, 0600));
  direct_ = static_cast<bool>(fd_);
  if (!fd_) fd_ = sys::UniqueFd(::open(name_.c_str(), flags, 0600));
  if (!fd_) throw_error(Errc::io_error, "{}: {}", name_, sys::errno_text(errno));
  if (const int error = ::posix_fallocate(fd_.get(), 0, shape.state_bytes); error != 0)
    throw_error(Errc::no_space, "{}: {} bytes: {}", name_, shape.state_bytes,
                sys::errno_text(error));
  std::memset(memory_.data(), 0, static_cast<std::size_t>(memory_.bytes()));
  for (std::int64_t at = 0; at < shape.state_bytes; at += shape.tile_bytes)
    need(sys::write_at(fd_.get(), buffer(0), shape.tile_bytes, at, false), shape.tile_bytes,
         "write");
}

void PlainFile::need(std::int64_t moved, std::int64_t wanted, const char* what) const {
  if (moved == wanted) return;
  if (moved < 0)
    throw_error(Errc::io_error, "{}: {}: {}", name_, what,
                sys::errno_text(static_cast<int>(-moved)));
  throw_error(Errc::io_error, "{}: {}: {} bytes of {}", name_, what, moved, wanted);
}

void PlainFile::check(int steps) {
  for (std::int64_t at = 0; at < shape_.state_bytes; at += shape_.tile_bytes) {
    need(sys::read_at(fd(), buffer(0), shape_.tile_bytes, at), shape_.tile_bytes, "read");
    for (std::int64_t page = 0; page < shape_.tile_bytes; page += 4096)
      if (*reinterpret_cast<const float*>(buffer(0) + page) != static_cast<float>(steps))
        throw_error(Errc::corrupt, "{}: the page at {} does not hold step {}", name_, at + page,
                    steps);
  }
}

}  // namespace spillway::bench
