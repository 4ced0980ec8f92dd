#include "scratch_directory.h"

#include <fmt/core.h>
#include <stdlib.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <system_error>

#include "spillway/error.h"

namespace spillway::tool {
namespace {

Errc kind_of(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
    case EROFS: return Errc::permission_denied;
    case ENOENT: return Errc::not_found;
    case ENOSPC:
    case EDQUOT: return Errc::no_space;
    default: return Errc::io_error;
  }
}

}  // namespace

ScratchDirectory::ScratchDirectory(const std::filesystem::path& parent) {
  std::error_code error;
  const std::filesystem::path above = std::filesystem::absolute(parent, error).lexically_normal();
  std::string name = (above / "spillway-run-XXXXXX").string();
  if (error || ::mkdtemp(name.data()) == nullptr) {
    const int code = error ? error.value() : errno;
    throw Error(kind_of(code),
                fmt::format("no directory can be made in {}: {}; go elsewhere, or name a place "
                            "with --nvme-path",
                            error ? parent.string() : above.string(), std::strerror(code)));
  }
  path_ = name;
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (error)
    fmt::print(stderr, "spillway: {} could not be removed: {}\n", path_.string(), error.message());
}

}  // namespace spillway::tool
