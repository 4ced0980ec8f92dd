// What every engine promises, whatever moves its bytes.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>

#include "contract/engine_under_test.h"
#include "support/captured_log.h"
#include "support/child_process.h"
#include "sys/process.h"

namespace spillway::io {
namespace {

INSTANTIATE_TEST_SUITE_P(All, EngineContract,
                         ::testing::Values(Kind::ring, Kind::ring_poll, Kind::threads, Kind::fake),
                         [](const auto& instance) { return name_of(instance.param); });

Errc code_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return Errc::unsupported;
}

TEST_P(EngineContract, WhatIsWrittenIsRead) {
  const PageMemory out(MiB + 12 * KiB), in(out.bytes());
  paint(out.data(), out.bytes(), 1);
  Request request;
  fill(request, Op::write, 8192, out.data(), out.bytes());
  run(request);
  ASSERT_EQ(request.outcome().error, 0);
  EXPECT_EQ(request.outcome().done, out.bytes());
  EXPECT_TRUE(engine->poll(request));
  EXPECT_EQ(std::memcmp(contents(8192, out.bytes()).data(), out.data(),
                        static_cast<std::size_t>(out.bytes())),
            0);

  fill(request, Op::read, 8192, in.data(), in.bytes());
  run(request);
  ASSERT_EQ(request.outcome().error, 0);
  EXPECT_EQ(std::memcmp(in.data(), out.data(), static_cast<std::size_t>(out.bytes())), 0);
  EXPECT_EQ(engine->describe_in_flight(), "0 in flight");
}

TEST_P(EngineContract, ABatchMovesEveryRequestToItsPlace) {
  constexpr std::int64_t each = 132 * KiB;  // not a multiple of the block
  constexpr int count = 40;
  const PageMemory out(count * each), in(count * each);
  paint(out.data(), out.bytes(), 2);
  std::vector<Request> requests(count);
  std::vector<Request*> batch;
  for (int i = 0; i < count; ++i) {
    // Backwards, so that a mix-up of order shows.
    fill(requests[static_cast<std::size_t>(i)], Op::write, (count - 1 - i) * each,
         out.data() + i * each, each);
    batch.push_back(&requests[static_cast<std::size_t>(i)]);
  }
  engine->submit(batch);
  for (Request& request : requests) engine->wait(request);
  for (int i = 0; i < count; ++i)
    fill(requests[static_cast<std::size_t>(i)], Op::read, (count - 1 - i) * each,
         in.data() + i * each, each);
  engine->submit(batch);
  for (Request& request : requests) {
    engine->wait(request);
    EXPECT_EQ(request.outcome().error, 0);
  }
  EXPECT_EQ(std::memcmp(in.data(), out.data(), static_cast<std::size_t>(out.bytes())), 0);
  const EngineStats stats = engine->stats();
  EXPECT_EQ(stats.read.bytes, count * each);
  EXPECT_EQ(stats.write.bytes, count * each);
  EXPECT_EQ(stats.read.latency.count(), count);
  EXPECT_EQ(stats.write.operations, count * 3);  // 132 KiB in blocks of 64
  EXPECT_EQ(engine->read_stats(file).bytes, count * each);
  EXPECT_EQ(engine->write_stats(file).operations, count * 3);
  EXPECT_LE(stats.peak_in_flight, 8);
  EXPECT_GE(stats.peak_in_flight, 2);
}

TEST_P(EngineContract, RegisteredMemoryIsUsedLikeAnyOther) {
  const PageMemory memory(2 * MiB), plain(64 * KiB);
  if (device) device->take_memory(true);
  const std::int64_t registered = engine->add_memory(memory.span());
  if (GetParam() == Kind::threads) {
    EXPECT_EQ(registered, 0);
  } else {
    EXPECT_EQ(registered, memory.bytes());
  }
  EXPECT_EQ(engine->stats().registered_bytes, registered);
  const EngineReport report = engine->report();
  EXPECT_EQ(std::count(report.features.begin(), report.features.end(), "fixed buffers"),
            registered > 0 ? 1 : 0);
  EXPECT_EQ(report.reasons.empty(), registered > 0);
  paint(memory.data(), MiB, 3);
  Request write, read, other;
  fill(write, Op::write, 0, memory.data(), MiB);
  run(write);
  fill(read, Op::read, 0, memory.data() + MiB, MiB);
  fill(other, Op::read, 64 * KiB, plain.data(), plain.bytes());
  Request* batch[] = {&read, &other};
  engine->submit(batch);
  engine->wait(read);
  engine->wait(other);
  EXPECT_EQ(std::memcmp(memory.data(), memory.data() + MiB, MiB), 0);
  EXPECT_EQ(std::memcmp(memory.data() + 64 * KiB, plain.data(), 64 * KiB), 0);
  engine->remove_memory(memory.span());
  EXPECT_EQ(engine->stats().registered_bytes, 0);
  run(read);
  EXPECT_EQ(read.outcome().error, 0);
}

TEST_P(EngineContract, ATruncatedFileIsCorruptAndTheEngineGoesOn) {
  const PageMemory memory(256 * KiB);
  truncate_file(100 * KiB + 17);
  Request request;
  fill(request, Op::read, 0, memory.data(), memory.bytes());
  run(request);
  EXPECT_TRUE(request.outcome().no_progress);
  EXPECT_EQ(request.outcome().done, 100 * KiB);
  const Error error = engine->error_of(request);
  EXPECT_EQ(error.code(), Errc::corrupt);
  EXPECT_NE(std::string(error.what()).find("data file"), std::string::npos) << error.what();
  EXPECT_NE(std::string(error.what()).find("262144 bytes at offset 0"), std::string::npos)
      << error.what();

  fill(request, Op::read, 0, memory.data(), 64 * KiB);
  run(request);
  EXPECT_EQ(request.outcome().error, 0);
  EXPECT_EQ(engine->stats().errors, 1);
  EXPECT_GE(engine->stats().short_transfers, 3);
}

TEST_P(EngineContract, CallbacksRunOneAtATimeOnTheIoThreadAndMaySubmit) {
  struct Chain {
    Engine* engine = nullptr;
    std::atomic<int> inside{0};
    std::atomic<int> runs{0};
    std::atomic<int> overlaps{0};
    std::atomic<int> other_threads{0};
    std::thread::id io;
    std::promise<void> end;
  } chain;
  chain.engine = engine.get();
  engine->call([&] { chain.io = std::this_thread::get_id(); });
  EXPECT_NE(chain.io, std::this_thread::get_id());

  constexpr int lanes = 4, runs = 200;
  const PageMemory memory(lanes * 64 * KiB);
  std::vector<Request> requests(lanes);
  for (int i = 0; i < lanes; ++i) {
    Request& request = requests[static_cast<std::size_t>(i)];
    fill(request, Op::read, i * 64 * KiB, memory.data() + i * 64 * KiB, 64 * KiB);
    request.context = &chain;
    request.callback = [](Request& done, void* context) {
      Chain& to = *static_cast<Chain*>(context);
      if (to.inside.fetch_add(1) != 0) ++to.overlaps;
      if (std::this_thread::get_id() != to.io) ++to.other_threads;
      EXPECT_EQ(done.state(), RequestState::done);
      EXPECT_EQ(done.outcome().error, 0);
      const int run = ++to.runs;
      if (run <= runs - lanes) to.engine->submit(done);
      --to.inside;
      if (run == runs) to.end.set_value();
    };
  }
  std::vector<Request*> batch;
  for (Request& request : requests) batch.push_back(&request);
  engine->submit(batch);
  chain.end.get_future().wait();
  for (Request& request : requests) engine->wait(request);
  EXPECT_EQ(chain.runs, runs);
  EXPECT_EQ(chain.overlaps, 0);
  EXPECT_EQ(chain.other_threads, 0);
}

TEST_P(EngineContract, ACallbackThatThrowsFailsItsRequestOnly) {
  const CapturedLog quiet;
  const PageMemory memory(8192);
  Request bad, good;
  fill(bad, Op::read, 0, memory.data(), 4096);
  bad.callback = [](Request&, void*) { throw std::runtime_error("thrown on purpose"); };
  fill(good, Op::read, 4096, memory.data() + 4096, 4096);
  Request* batch[] = {&bad, &good};
  engine->submit(batch);
  engine->wait(bad);
  engine->wait(good);
  EXPECT_EQ(bad.outcome().error, EIO);
  EXPECT_EQ(engine->error_of(bad).code(), Errc::io_error);
  EXPECT_EQ(good.outcome().error, 0);
}

TEST_P(EngineContract, WaitingInACallbackIsRefused) {
  struct Seen {
    Engine* engine = nullptr;
    Errc wait{}, call{}, shutdown{};
  } seen;
  seen.engine = engine.get();
  const PageMemory memory(4096);
  Request request;
  fill(request, Op::read, 0, memory.data(), 4096);
  request.context = &seen;
  request.callback = [](Request& done, void* context) {
    Seen& to = *static_cast<Seen*>(context);
    to.wait = code_of([&] { to.engine->wait(done); });
    to.call = code_of([&] { to.engine->call([] {}); });
    to.shutdown = code_of([&] { to.engine->shutdown(1); });
  };
  run(request);
  EXPECT_EQ(seen.wait, Errc::would_deadlock);
  EXPECT_EQ(seen.call, Errc::would_deadlock);
  EXPECT_EQ(seen.shutdown, Errc::would_deadlock);
}

TEST_P(EngineContract, ABatchIsAllOrNothing) {
  const PageMemory memory(64 * KiB);
  Request good, odd, empty, unknown;
  fill(good, Op::write, 0, memory.data(), 4096);
  fill(odd, Op::write, 512, memory.data(), 4096);
  fill(empty, Op::write, 0, memory.data(), 0);
  fill(unknown, Op::write, 0, memory.data(), 4096);
  unknown.file = FileId{77};
  for (Request* bad : {&odd, &empty, &unknown}) {
    Request* batch[] = {&good, bad};
    EXPECT_EQ(code_of([&] { engine->submit(batch); }), Errc::invalid_argument);
    EXPECT_EQ(good.state(), RequestState::idle);
    EXPECT_EQ(bad->state(), RequestState::idle);
  }
  Request* twice[] = {&good, &good};
  EXPECT_EQ(code_of([&] { engine->submit(twice); }), Errc::invalid_argument);
  EXPECT_EQ(good.state(), RequestState::idle);
  for (int part = 0; part < 3; ++part) {
    Request request;
    fill(request, Op::read, 0, memory.data(), 4096);
    if (part == 0) request.offset = 100;
    if (part == 1) request.data += 8;
    if (part == 2) request.bytes = 100;
    EXPECT_EQ(code_of([&] { engine->submit(request); }), Errc::invalid_argument) << part;
  }
  EXPECT_EQ(code_of([&] { engine->wait(good); }), Errc::invalid_argument);
  EXPECT_EQ(engine->stats().write.operations, 0);
  run(good);
  EXPECT_EQ(good.outcome().error, 0);
}

TEST_P(EngineContract, CallsRunOnTheIoThreadAndThrowHere) {
  EXPECT_THROW(engine->call([] { throw std::out_of_range("from the other side"); }),
               std::out_of_range);
  sigset_t blocked;
  engine->call([&] { ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked); });
  for (const int signal : {SIGXFSZ, SIGTERM, SIGINT, SIGUSR1, SIGCHLD, SIGALRM})
    EXPECT_EQ(sigismember(&blocked, signal), 1) << signal;
}

TEST_P(EngineContract, FilesComeAndGo) {
  const PageMemory memory(4096);
  for (int round = 0; round < 300; ++round) {
    const sys::UniqueFd other = temporary_file(device ? 0 : 4096);
    const FileId id = engine->add_file({.fd = other.get(), .name = "another"});
    EXPECT_EQ(engine->file(id).name, "another");
    Request request;
    fill(request, Op::write, 0, memory.data(), 4096);
    request.file = id;
    run(request);
    EXPECT_EQ(request.outcome().error, 0);
    engine->remove_file(id);
    EXPECT_EQ(code_of([&] { engine->submit(request); }), Errc::invalid_argument);
  }
  EXPECT_EQ(code_of([&] { engine->add_file({.fd = -1, .name = "none"}); }), Errc::invalid_argument);
}

TEST_P(EngineContract, ManyThreadsAtOnce) {
  constexpr int threads = 4, rounds = 60;
  constexpr std::int64_t each = 256 * KiB;
  std::vector<std::thread> running;
  std::atomic<int> wrong{0};
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      const PageMemory out(each), in(each);
      Request write, read;
      for (int round = 0; round < rounds; ++round) {
        paint(out.data(), each, static_cast<std::uint64_t>(t * 1000 + round));
        fill(write, Op::write, t * each, out.data(), each);
        run(write);
        fill(read, Op::read, t * each, in.data(), each);
        read.service = round % 2 == 0 ? Service::prefetch : Service::demand;
        engine->submit(read);
        if (round % 3 == 0) engine->promote(read);
        while (!engine->poll(read)) {
          if (engine->cancel(read)) break;
          std::this_thread::yield();
        }
        engine->wait(read);
        if (read.outcome().cancelled) continue;
        if (std::memcmp(in.data(), out.data(), static_cast<std::size_t>(each)) != 0) ++wrong;
        (void)engine->stats();
        (void)engine->describe_in_flight();
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(EngineContract, ShutdownCancelsRefusesAndMayComeTwice) {
  constexpr int count = 64;
  const PageMemory memory(count * 64 * KiB);
  std::vector<Request> requests(count);
  std::vector<Request*> batch;
  for (int i = 0; i < count; ++i) {
    fill(requests[static_cast<std::size_t>(i)], Op::write, i * 64 * KiB,
         memory.data() + i * 64 * KiB, 64 * KiB);
    batch.push_back(&requests[static_cast<std::size_t>(i)]);
  }
  engine->submit(batch);
  EXPECT_TRUE(engine->shutdown(20).clean);
  for (const Request& request : requests) {
    ASSERT_EQ(request.state(), RequestState::done);
    EXPECT_TRUE(request.outcome().error == 0 || request.outcome().cancelled);
  }
  EXPECT_TRUE(engine->shutdown(20).clean);
  EXPECT_EQ(code_of([&] { engine->submit(requests[0]); }), Errc::shut_down);
  EXPECT_EQ(code_of([&] { engine->call([] {}); }), Errc::shut_down);
  EXPECT_EQ(code_of([&] { engine->add_file({.fd = fd.get(), .name = "late"}); }), Errc::shut_down);
  engine->remove_file(file);
  EXPECT_GE(engine->stats().write.bytes, 0);
}

TEST_P(EngineContract, AForkedChildIsRefusedAndLeavesTheParentAlone) {
  const PageMemory memory(4096);
  Request request;
  fill(request, Op::write, 0, memory.data(), 4096);
  const pid_t child = fork_beside_threads();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int wrong = 0;
    const auto refused = [&](const std::function<void()>& work) {
      try {
        work();
        ++wrong;
      } catch (const Error& error) {
        if (error.code() != Errc::forked) ++wrong;
      }
    };
    refused([&] { engine->submit(request); });
    refused([&] { engine->call([] {}); });
    refused([&] { static_cast<void>(engine->stats()); });
    refused([&] { static_cast<void>(engine->shutdown(1)); });
    engine.reset();
    ::_exit(wrong);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  run(request);
  EXPECT_EQ(request.outcome().error, 0);
  EXPECT_TRUE(engine->shutdown(10).clean);
}

TEST_P(EngineContract, OptionsThatCannotWorkAreRefused) {
  for (const EngineOptions& bad : {EngineOptions{.block_size = 0}, EngineOptions{.queue_depth = 0},
                                   EngineOptions{.read_budget = -1},
                                   EngineOptions{.write_budget = 0}, EngineOptions{.threads = -1}})
    EXPECT_EQ(code_of([&] { Engine::open(bad); }), Errc::invalid_argument);
}

TEST_P(EngineContract, TheReportSaysWhatRuns) {
  const EngineReport report = engine->report();
  switch (GetParam()) {
    case Kind::ring:
    case Kind::ring_poll: EXPECT_EQ(report.engine, "io_uring"); break;
    case Kind::threads: EXPECT_EQ(report.engine, "threads"); break;
    case Kind::fake: EXPECT_EQ(report.engine, "fake"); break;
  }
  EXPECT_FALSE(report.features.empty());
}

}  // namespace
}  // namespace spillway::io
