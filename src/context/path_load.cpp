#include "spillway/path_load.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/align.h"
#include "base/throw.h"
#include "context/load_run.h"
#include "context/page_fill.h"
#include "context/path_stats.h"
#include "io/engine.h"
#include "store/data_file.h"
#include "sys/file.h"

namespace spillway {
namespace {

// The whole fill is one run of these.
constexpr std::int64_t fill_block = MiB;
constexpr std::int64_t fill_depth = 8;
constexpr double no_limit = 1e9;  // [s]

// How many blocks of what a run wrote are read back.
constexpr std::int64_t blocks_checked = 8;

// The files' own engine: it allocates and reads back, beside those that are measured.
io::EngineOptions own_engine(const IoConfig& io) {
  io::EngineOptions options;
  options.engine = EngineChoice::threads;
  options.threads = 1;
  options.queue_depth = 1;
  options.wait_timeout = io.timeout;
  return options;
}

}  // namespace

struct PathLoad::Impl {
  explicit Impl(const PathLoadOptions& the_options);
  ~Impl();
  LoadResult run(const LoadShape& shape, const LoadWatch& watch);
  std::int64_t cached_bytes() const;
  std::int64_t check_written(const LoadShape& shape, std::int64_t bytes_written);

  PathLoadOptions options;
  std::unique_ptr<io::Engine> engine;
  std::vector<std::unique_ptr<store::DataFile>> data_files;  // before the engine in destruction
  LoadFiles files;
  bool filled = false;
  bool abandoned = false;
};

PathLoad::Impl::Impl(const PathLoadOptions& the_options) : options(the_options) {
  if (options.paths.empty())
    throw_error(Errc::invalid_argument, "load: at least one path is needed");
  const auto count = std::ssize(options.paths);
  files.bytes = align_down(options.file_bytes / count, MiB);
  if (files.bytes < MiB)
    throw_error(Errc::invalid_argument,
                "load: {} bytes over {} files are less than 1 MiB for each; raise the file size",
                options.file_bytes, count);
  engine = io::Engine::open(own_engine(options.io));
  for (const std::filesystem::path& path : options.paths) {
    store::StoreOptions file;
    file.direct = options.io.direct;
    data_files.push_back(std::make_unique<store::DataFile>(*engine, path.string(), file));
    data_files.back()->grow(files.bytes);
    files.specs.push_back(engine->file(data_files.back()->id()));
    files.alignment = std::max(files.alignment, data_files.back()->alignment());
  }
}

PathLoad::Impl::~Impl() {
  if (!abandoned) return;
  // The kernel may still write through the descriptors: they stay open.
  for (auto& file : data_files) {
    file->abandon();
    static_cast<void>(file.release());
  }
  static_cast<void>(engine.release());
}

std::int64_t PathLoad::Impl::cached_bytes() const {
  std::int64_t sum = 0;
  for (const io::FileSpec& spec : files.specs) {
    const std::int64_t cached = sys::cached_bytes(spec.fd, 0, files.bytes);
    if (cached < 0) return -1;
    sum += cached;
  }
  return sum;
}

LoadResult PathLoad::Impl::run(const LoadShape& shape, const LoadWatch& watch) {
  LoadRun load(shape, files, options, watch);
  LoadResult result;
  try {
    result = load.run();
  } catch (...) {
    abandoned = abandoned || load.abandoned();
    throw;
  }
  result.cached_bytes = cached_bytes();
  result.pages_checked = check_written(shape, result.bytes_written);
  return result;
}

// Blocks spread evenly over what was written.
std::int64_t PathLoad::Impl::check_written(const LoadShape& shape, std::int64_t bytes_written) {
  const auto count = std::ssize(files.specs);
  const std::int64_t blocks =
      std::min(bytes_written / shape.block_size, files.bytes / shape.block_size * count);
  if (blocks == 0) return 0;
  RegionOptions region;
  region.name = "a block to check";
  region.alignment = files.alignment;
  const PinnedRegion memory(shape.block_size, region);
  std::int64_t pages = 0;
  for (std::int64_t i = 0; i < std::min(blocks, blocks_checked); ++i) {
    const std::int64_t block = i * blocks / std::min(blocks, blocks_checked);
    io::Request request;
    const auto& file = data_files[static_cast<std::size_t>(block % count)];
    request.file = file->id();
    request.offset = block / count * shape.block_size;
    request.data = memory.data();
    request.bytes = shape.block_size;
    std::memset(memory.data(), 0, static_cast<std::size_t>(shape.block_size));
    engine->submit(request);
    engine->wait(request, deadline_in(no_limit));
    if (request.outcome().error != 0) throw Error(engine->error_of(request));
    for (std::int64_t at = 0; at < shape.block_size; at += page_bytes, ++pages)
      if (!whole_page(memory.span().subspan(static_cast<std::size_t>(at),
                                            static_cast<std::size_t>(page_bytes)),
                      options.fill))
        throw_error(Errc::corrupt,
                    "{}: the page at {} is not what was written there; the device or its driver is "
                    "faulty, or somebody else writes to the file",
                    file->name(), request.offset + at);
  }
  return pages;
}

PathLoad::PathLoad(const PathLoadOptions& options) : impl_(std::make_unique<Impl>(options)) {}
PathLoad::~PathLoad() = default;

void PathLoad::fill(const LoadWatch& watch) {
  LoadShape shape;
  shape.pattern = LoadPattern::write;
  shape.block_size = fill_block;
  shape.queue_depth = fill_depth;
  shape.seconds = no_limit;
  shape.max_written = impl_->files.bytes * std::ssize(impl_->files.specs);
  impl_->run(shape, watch);
  impl_->filled = true;
}

LoadResult PathLoad::run(const LoadShape& shape, const LoadWatch& watch) {
  if (shape.pattern != LoadPattern::write && !impl_->filled)
    throw_error(Errc::invalid_argument, "load: fill() comes before the first run that reads");
  return impl_->run(shape, watch);
}

std::int64_t PathLoad::bytes_per_file() const { return impl_->files.bytes; }

std::vector<std::string> PathLoad::file_names() const {
  std::vector<std::string> names;
  for (const auto& file : impl_->data_files) names.push_back(file->report().data_file);
  return names;
}

std::vector<PathStats> PathLoad::paths() const {
  std::vector<PathStats> stats;
  for (const auto& file : impl_->data_files) stats.push_back(path_stats(file->report()));
  return stats;
}

}  // namespace spillway
