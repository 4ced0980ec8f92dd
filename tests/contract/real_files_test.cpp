// Real files, direct and buffered, on a disk and in memory.

#include <fcntl.h>

#include "contract/engine_under_test.h"

namespace spillway::io {
namespace {

struct Place {
  const char* folder;
  int flags;
  bool dsync;
};

class RealFiles : public EngineContract {};
INSTANTIATE_TEST_SUITE_P(All, RealFiles,
                         ::testing::Values(Kind::ring, Kind::ring_poll, Kind::threads),
                         [](const auto& instance) { return name_of(instance.param); });

TEST_P(RealFiles, RoundTripsWhereverTheFileLies) {
  constexpr std::int64_t bytes = 8 * MiB;
  const PageMemory out(bytes), in(bytes);
  for (const Place& place : {Place{".", O_DIRECT, false}, Place{".", 0, true},
                             Place{"/dev/shm", O_DIRECT, false}, Place{"/dev/shm", 0, false}}) {
    SCOPED_TRACE(std::string(place.folder) + (place.flags != 0 ? " direct" : " buffered"));
    sys::UniqueFd data;
    try {
      data = temporary_file(bytes, place.folder, place.flags);
    } catch (const std::exception&) {
      continue;  // this file system knows no direct I/O
    }
    const FileId id =
        engine->add_file({.fd = data.get(), .name = place.folder, .dsync = place.dsync});
    paint(out.data(), bytes, static_cast<std::uint64_t>(place.flags) + 5);
    std::memset(in.data(), 0, static_cast<std::size_t>(bytes));
    for (const Op op : {Op::write, Op::read}) {
      std::vector<Request> requests(8);
      std::vector<Request*> batch;
      for (std::int64_t i = 0; i < 8; ++i) {
        Request& request = requests[static_cast<std::size_t>(i)];
        fill(request, op, i * MiB, (op == Op::write ? out : in).data() + i * MiB, MiB);
        request.file = id;
        batch.push_back(&request);
      }
      engine->submit(batch);
      for (Request& request : requests) {
        engine->wait(request);
        ASSERT_EQ(request.outcome().error, 0) << engine->error_of(request).what();
      }
    }
    EXPECT_EQ(std::memcmp(out.data(), in.data(), static_cast<std::size_t>(bytes)), 0);
    engine->remove_file(id);
  }
}

TEST_P(RealFiles, ErrorsNameTheFileAndTheEngineGoesOn) {
  const PageMemory memory(64 * KiB);
  sys::UniqueFd read_only{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
  const FileId id = engine->add_file({.fd = read_only.get(), .name = "a read-only file"});
  Request request;
  fill(request, Op::write, 0, memory.data(), 64 * KiB);
  request.file = id;
  run(request);
  EXPECT_EQ(request.outcome().error, EBADF);
  EXPECT_NE(std::string(engine->error_of(request).what()).find("a read-only file"),
            std::string::npos);
  request.file = file;
  run(request);
  EXPECT_EQ(request.outcome().error, 0);
  engine->remove_file(id);
}

}  // namespace
}  // namespace spillway::io
