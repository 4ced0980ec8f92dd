#include "engine_load.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include "base/align.h"
#include "base/throw.h"
#include "io/probe.h"
#include "machine.h"
#include "stop_signals.h"

namespace spillway::bench {

struct EngineLoad::Slot {
  EngineLoad* load = nullptr;
  std::byte* data = nullptr;
  io::Request request;
};

namespace {

// Page `number` of a file whose pages repeat one word each. No small number, no byte pattern: a
// page that stands in the wrong place is seen.
std::uint64_t word_of(std::int64_t number) {
  return static_cast<std::uint64_t>(number) * 0x9e3779b97f4a7c15U + 1;
}

void fill_page(std::byte* page, std::uint64_t word) {
  for (std::int64_t at = 0; at < page_bytes; at += 8) std::memcpy(page + at, &word, 8);
}

}  // namespace

EngineLoad::EngineLoad(const EngineLoadSettings& settings) : settings_(settings) {
  const std::string name = settings.file.string();
  fd_ = sys::UniqueFd(::open(name.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd_) throw_error(Errc::io_error, "{}: {}", name, sys::errno_text(errno));
  if (const int error = ::posix_fallocate(fd_.get(), 0, settings.file_bytes); error != 0)
    throw_error(Errc::no_space, "{}: {} bytes: {}", name, settings.file_bytes,
                sys::errno_text(error));
  const io::FileProbe probe = io::probe_file(fd_.get(), Switch::automatic, name);
  direct_io_ = (probe.direct ? "direct: " : "BUFFERED: ") + probe.how;

  const std::int64_t in_flight = settings.depth * settings.block_bytes;
  memory_ =
      PinnedRegion(in_flight, {.pin = true,
                               .huge_pages = settings.huge_pages ? Switch::automatic : Switch::off,
                               .setting = "--depth or --block-size"});
  engine_ = io::Engine::open({.engine = settings.engine,
                              .block_size = settings.block_bytes,
                              .queue_depth = settings.depth,
                              .read_budget = in_flight,
                              .write_budget = in_flight});
  engine_->add_memory(memory_.span());
  file_ = engine_->add_file(
      {.fd = fd_.get(), .name = name, .alignment = probe.alignment, .dsync = probe.dsync});
  for (int i = 0; i < settings.depth; ++i) {
    slots_.push_back(std::make_unique<Slot>());
    slots_.back()->load = this;
    slots_.back()->data = memory_.data() + i * settings.block_bytes;
  }
  fill_file();
  check_file();
  fill_buffers();
}

EngineLoad::~EngineLoad() { engine_->shutdown(10); }

double EngineLoad::huge_page_share() const {
  const std::int64_t huge = memory_.huge_bytes_now();
  return huge < 0 ? 0 : static_cast<double>(huge) / static_cast<double>(memory_.bytes());
}

void EngineLoad::fill_buffers() {
  if (settings_.data == Data::word) {
    for (std::int64_t page = 0; page < memory_.bytes() / page_bytes; ++page)
      fill_page(memory_.data() + page * page_bytes, word_of(page));
    return;
  }
  std::mt19937_64 random(1);
  for (std::int64_t at = 0; at + 8 <= memory_.bytes(); at += 8) {
    const std::uint64_t value = random();
    std::memcpy(memory_.data() + at, &value, 8);
  }
}

// Written before it is read: what was never written costs a file system nothing to read.
void EngineLoad::fill_file() {
  if (settings_.data == Data::random) fill_buffers();
  io::Request& request = slots_[0]->request;
  for (std::int64_t at = 0; at < settings_.file_bytes; at += settings_.block_bytes) {
    tool::StopSignals::check();
    std::byte* const data = slots_[0]->data;
    for (std::int64_t page = 0; page < settings_.block_bytes; page += page_bytes) {
      const std::uint64_t word = word_of((at + page) / page_bytes);
      if (settings_.data == Data::word) {
        fill_page(data + page, word);
      } else {
        std::memcpy(data + page, &word, 8);  // random otherwise, and known by its first word
      }
    }
    request.op = io::Op::write;
    request.service = io::Service::write;
    request.file = file_;
    request.offset = at;
    request.data = data;
    request.bytes = settings_.block_bytes;
    request.callback = nullptr;
    engine_->submit(request);
    engine_->wait(request);
    if (request.outcome().error != 0) throw Error(engine_->error_of(request));
  }
}

void EngineLoad::check_file() {
  io::Request& request = slots_[0]->request;
  request.op = io::Op::read;
  request.service = io::Service::demand;
  for (std::int64_t at = 0; at < settings_.file_bytes; at += settings_.block_bytes) {
    tool::StopSignals::check();
    request.offset = at;
    engine_->submit(request);
    engine_->wait(request);
    if (request.outcome().error != 0) throw Error(engine_->error_of(request));
    for (std::int64_t page = 0; page < settings_.block_bytes; page += page_bytes) {
      std::uint64_t word = 0;
      std::memcpy(&word, slots_[0]->data + page, 8);
      if (word != word_of((at + page) / page_bytes))
        throw_error(Errc::corrupt, "{}: the page at {} does not hold what was written",
                    settings_.file.string(), at + page);
    }
  }
}

// On the I/O thread, once per completion.
void EngineLoad::next(io::Request& request, void* context) {
  Slot& slot = *static_cast<Slot*>(context);
  EngineLoad& load = *slot.load;
  if (request.outcome().error != 0) return;  // the main thread finds it
  load.moved_[static_cast<std::size_t>(request.op)] += request.bytes;
  if (!load.stop_.load(std::memory_order_relaxed)) load.start(slot);
}

void EngineLoad::start(Slot& slot) {
  io::Request& request = slot.request;
  const bool write = pattern_ == Pattern::write || (pattern_ == Pattern::mixed && write_is_next_);
  write_is_next_ = !write_is_next_;
  std::int64_t& position = position_[write ? 1 : 0];
  request.op = write ? io::Op::write : io::Op::read;
  request.service = write ? io::Service::write : io::Service::prefetch;
  request.file = file_;
  request.offset = position;
  request.data = slot.data;
  request.bytes = settings_.block_bytes;
  request.callback = next;
  request.context = &slot;
  position += settings_.block_bytes;
  if (position >= settings_.file_bytes) position = 0;
  engine_->submit(request);
}

void EngineLoad::wait_for_all() {
  for (const auto& slot : slots_) {
    engine_->wait(slot->request);
    if (slot->request.outcome().error != 0) throw Error(engine_->error_of(slot->request));
  }
}

Sample EngineLoad::run(Pattern pattern, double seconds) {
  using Clock = std::chrono::steady_clock;
  pattern_ = pattern;
  stop_ = false;
  moved_[0] = moved_[1] = position_[0] = position_[1] = 0;
  write_is_next_ = false;
  const double cpu = own_cpu_seconds();
  const auto begin = Clock::now();
  // All from the I/O thread, which alone touches the fields of a run.
  engine_->call([this] {
    for (const auto& slot : slots_) start(*slot);
  });
  const auto end = begin + std::chrono::duration<double>(seconds);
  while (Clock::now() < end && tool::StopSignals::received() == 0) {
    const std::chrono::duration<double> left = end - Clock::now();
    std::this_thread::sleep_for(std::min(left, std::chrono::duration<double>(0.1)));
  }
  stop_ = true;
  wait_for_all();
  Sample sample;
  sample.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  sample.cpu_seconds = own_cpu_seconds() - cpu;
  engine_->call([&] {
    sample.read_bytes = moved_[0];
    sample.written_bytes = moved_[1];
  });
  tool::StopSignals::check();
  return sample;
}

}  // namespace spillway::bench
