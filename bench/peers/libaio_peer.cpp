// libaio on one thread: every buffer goes round by itself, read, touched, written, next tile; each
// tile is cut into blocks, and all blocks of a tile are sent with one call.
#include <fmt/core.h>
#include <libaio.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/byte_size.h"
#include "base/throw.h"
#include "plain_file.h"

namespace spillway::bench {
namespace {

class LibaioPeer final : public Peer {
 public:
  LibaioPeer(const StepShape& shape, std::int64_t block_bytes)
      : shape_(shape),
        block_(std::min(block_bytes, shape.tile_bytes)),
        blocks_(static_cast<std::size_t>((shape.tile_bytes + block_ - 1) / block_)),
        file_(shape, "libaio.bin"),
        buffers_(static_cast<std::size_t>(shape.buffers)),
        events_(blocks_ * buffers_.size()) {
    const int status = ::io_setup(static_cast<int>(events_.size()), &context_);
    if (status < 0)
      throw_error(Errc::unsupported, "io_setup for {} events: {}; raise fs.aio-max-nr",
                  events_.size(), sys::errno_text(-status));
    for (std::size_t i = 0; i < buffers_.size(); ++i) {
      buffers_[i].data = file_.buffer(static_cast<int>(i));
      buffers_[i].transfers.resize(blocks_);
    }
  }
  ~LibaioPeer() override { ::io_destroy(context_); }

  std::string name() const override { return "libaio"; }
  std::string setting() const override {
    return fmt::format("1 thread, blocks of {}, up to {} in flight, {}", format_bytes(block_),
                       events_.size(), file_.mode());
  }

  void step() override {
    next_ = 0;
    std::size_t busy = 0;
    for (Buffer& buffer : buffers_) busy += begin_next(buffer) ? 1 : 0;
    while (busy > 0) {
      const int count =
          ::io_getevents(context_, 1, static_cast<long>(events_.size()), events_.data(), nullptr);
      if (count == -EINTR) continue;
      if (count < 0) throw_error(Errc::io_error, "io_getevents: {}", sys::errno_text(-count));
      for (int i = 0; i < count; ++i) {
        const io_event& event = events_[static_cast<std::size_t>(i)];
        Buffer& buffer = *static_cast<Buffer*>(event.data);
        file_.need(static_cast<std::int64_t>(event.res),
                   static_cast<std::int64_t>(event.obj->u.c.nbytes), "transfer");
        if (--buffer.in_flight > 0) continue;
        if (!buffer.writes) {
          touch(buffer.data, shape_.tile_bytes);
          send(buffer, true);
        } else if (!begin_next(buffer)) {
          --busy;
        }
      }
    }
  }

  void check(int steps) override { file_.check(steps); }

 private:
  struct Buffer {
    std::byte* data = nullptr;
    std::int64_t tile = 0;
    bool writes = false;
    std::size_t in_flight = 0;
    std::vector<iocb> transfers;
  };

  bool begin_next(Buffer& buffer) {
    if (next_ == shape_.tiles()) return false;
    buffer.tile = next_++;
    send(buffer, false);
    return true;
  }

  void send(Buffer& buffer, bool write) {
    std::vector<iocb*>& batch = batch_;
    batch.clear();
    for (std::size_t i = 0; i < blocks_; ++i) {
      const std::int64_t at = static_cast<std::int64_t>(i) * block_;
      const auto bytes = static_cast<std::size_t>(std::min(block_, shape_.tile_bytes - at));
      const long long offset = buffer.tile * shape_.tile_bytes + at;
      iocb& transfer = buffer.transfers[i];
      if (write) {
        ::io_prep_pwrite(&transfer, file_.fd(), buffer.data + at, bytes, offset);
      } else {
        ::io_prep_pread(&transfer, file_.fd(), buffer.data + at, bytes, offset);
      }
      transfer.data = &buffer;
      batch.push_back(&transfer);
    }
    buffer.writes = write;
    buffer.in_flight = blocks_;
    for (std::size_t sent = 0; sent < batch.size();) {
      const int count =
          ::io_submit(context_, static_cast<long>(batch.size() - sent), batch.data() + sent);
      if (count == -EINTR || count == -EAGAIN) continue;
      if (count < 0) throw_error(Errc::io_error, "io_submit: {}", sys::errno_text(-count));
      sent += static_cast<std::size_t>(count);
    }
  }

  StepShape shape_;
  std::int64_t block_;
  std::size_t blocks_;
  PlainFile file_;
  io_context_t context_ = nullptr;
  std::int64_t next_ = 0;
  std::vector<Buffer> buffers_;
  std::vector<io_event> events_;
  std::vector<iocb*> batch_;
};

}  // namespace

std::unique_ptr<Peer> make_libaio_peer(const StepShape& shape, std::int64_t block_bytes) {
  return std::make_unique<LibaioPeer>(shape, block_bytes);
}

}  // namespace spillway::bench
