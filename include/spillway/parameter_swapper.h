#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spillway/dtype.h"
#include "spillway/error.h"
#include "spillway/pass.h"
#include "spillway/stats.h"

namespace spillway {

class Context;
namespace swap {
struct Hold;
struct Intake;
class Parameters;
class Swapper;
}  // namespace swap

/// What a fetch is for.
enum class Access {
  read,       ///< shared: the bytes must not be changed
  update,     ///< exclusive: the old bytes are there, and may be changed
  overwrite,  ///< exclusive: the bytes start undefined, all must be written; nothing is read
};

/// Elements [offset, offset + count) of one parameter.
///
/// A range excludes others element by element of 4096: two ranges that touch the same block of
/// 4096 elements are taken to meet. Ranges that begin and end on multiples of 4096 (or at the
/// parameter's end), as an optimizer's slices do, are overwritten without reading anything.
struct Range {
  std::int64_t offset = 0;
  std::int64_t count = whole;  ///< `whole`: to the end of the parameter
  static constexpr std::int64_t whole = -1;
};

struct ParameterSwapperOptions {
  std::string name = "parameters";  ///< stands in messages
  /// [s] a fetch waits for leases and I/O before it fails; unset: the config's `io.timeout`
  std::optional<double> timeout = std::nullopt;
};

struct TensorOptions {
  UnitId unit = default_unit;
  std::uint64_t tag = 0;  ///< the engine's: comes back in every view
  bool keep = false;      ///< once in CPU memory it stays there, whatever else is needed
  /// First values, copied before add() returns; empty: zeros, until first written.
  std::span<const std::byte> init = {};
  /// The engine's own memory is the parameter's home (device none and cpu only): read in place,
  /// changed at commit; never freed, alive and in place until the parameter is removed.
  std::span<std::byte> adopt = {};
};

/// Elements of one parameter inside a lease.
class View {
 public:
  ParamId param{};
  std::uint64_t tag = 0;
  DType dtype = DType::f32;
  std::int64_t offset = 0;  ///< [elements] from the start of the parameter
  std::int64_t count = 0;   ///< [elements]

  const std::byte* data() const { return data_; }
  std::int64_t bytes() const { return count * width(dtype); }
  std::span<const std::byte> raw() const { return {data_, static_cast<std::size_t>(bytes())}; }
  /// The same to be written to. Throws Error invalid_argument under Access::read.
  std::span<std::byte> raw_mutable() const;

  /// `as<const float>()` to read, `as<float>()` to change. 64-byte aligned where `offset` is a
  /// multiple of 64 elements (adopted memory: as it is). Throws Error invalid_argument for another
  /// dtype, and for a T that is not const under Access::read.
  template <typename T>
  std::span<T> as() const {
    using Element = std::remove_const_t<T>;
    static_assert(is_element<Element>, "float, f16, bf16, std::int8_t or std::uint8_t");
    check(dtype_of<Element>, !std::is_const_v<T>);
    return {reinterpret_cast<T*>(data_), static_cast<std::size_t>(count)};
  }

 private:
  friend class swap::Parameters;
  void check(DType wanted, bool mutate) const;
  std::byte* data_ = nullptr;
  const swap::Hold* hold_ = nullptr;
};

/// Tells when somebody else (a copy engine, say) is done with the bytes of a lease.
using Fence = std::function<bool()>;

/// A CUDA stream (a CUstream or cudaStream_t): the lease ends when all that was queued on it before
/// the call is done.
struct CudaStream {
  void* stream = nullptr;
};

/// The right to use the bytes of one parameter, a range of it, or all parameters of a unit.
///
/// Read leases share; update and overwrite leases exclude all others of the same range. An update
/// or overwrite works on a copy of its own and becomes visible at commit(), as a whole; destroyed
/// without it, everything is as it was. Committed bytes are written behind.
///
/// Move-only; may be moved to, committed and destroyed on any thread, a CUDA host callback
/// included: the destructor never waits for I/O, never throws, and never calls CUDA. A lease that
/// outlives its swapper stays valid; the swapper then logs its name and keeps its memory for ever.
class Lease {
 public:
  Lease() = default;
  Lease(Lease&& other) noexcept : hold_(std::exchange(other.hold_, nullptr)) {}
  Lease& operator=(Lease&& other) noexcept;
  ~Lease();

  explicit operator bool() const { return hold_ != nullptr; }
  /// In the order of add(). Valid until the lease is committed, released or destroyed.
  std::span<const View> tensors() const;
  /// The only tensor's elements. Throws Error invalid_argument if there is not exactly one view.
  template <typename T>
  std::span<T> as() const {
    return only().as<T>();
  }

  /// The new bytes take the place of the old ones, for all tensors of the lease at once, and are
  /// written behind. Never waits for I/O. For a read lease it is the same as its destruction.
  /// Throws Error invalid_argument if there is nothing to commit (twice, or moved from).
  void commit();

  /// Gives the lease up now and its bytes back when `fence` says so: returns at once. Fences are
  /// polled by later calls on the swapper, on their threads. For read leases (else: commit first;
  /// throws Error invalid_argument).
  void release_after(Fence fence) &&;
  /// Throws Error unsupported, which says why, without the driver and where it refuses; the lease
  /// is as it was then.
  void release_after(CudaStream stream) &&;

 private:
  friend class swap::Parameters;
  friend class Tile;
  explicit Lease(swap::Hold* hold) : hold_(hold) {}
  const View& only() const;
  swap::Hold* hold_ = nullptr;
};

/// A copy of committed bytes on its way into memory of the engine's.
///
/// The bytes are there, and verified, once wait() has returned. The memory must stay alive until
/// then, or until the object is destroyed (which waits for the device). So long the range counts as
/// being read.
class ReadInto {
 public:
  ReadInto() = default;
  ReadInto(ReadInto&& other) noexcept : intake_(std::exchange(other.intake_, nullptr)) {}
  ReadInto& operator=(ReadInto&& other) noexcept;
  ~ReadInto();

  /// Whether wait() would return at once.
  bool ready() const;
  /// Returns when the bytes are there and verified. Throws Error: io_error, corrupt, timeout.
  void wait();

 private:
  friend class swap::Parameters;
  explicit ReadInto(swap::Intake* intake) : intake_(intake) {}
  swap::Intake* intake_ = nullptr;
};

/// Where the newest bytes of a parameter are.
enum class Residence {
  memory,   ///< its home or the CPU cache, whole
  buffers,  ///< in pool buffers: leased, read ahead, or being written
  coming,   ///< being read
  store,    ///< on NVMe only
  nowhere,  ///< never written: zeros, made when fetched
};

/// Parameters that live on `offload_param.device` and come to host memory for as long as a lease
/// holds them.
///
/// Two budgets, both hard: a CPU cache of `max_in_cpu` elements, and a pinned pool of
/// `buffer_count * buffer_size` bytes for what the cache does not hold and for leases that change
/// bytes. A parameter, or all of a unit that is not in memory, may be as large as the pool. Larger
/// ones can be read if the cache has room for the rest, whole parameters of it, whatever it has to
/// drop for that; to change them take ranges, or give the pool room for the largest unit.
///
/// The order in which a pass uses its parameters is learned under the pass's name. From the second
/// time on reading ahead follows it, as far as the budgets allow, and the cache evicts what is
/// needed furthest in the future and admits only what is needed sooner than that. Until then, and
/// when the order breaks, the least recently used goes.
///
/// Never-written parameters are zeros. Bytes that could not be written stay in memory, are tried
/// again by flush() and by whoever needs their place, and are served from there meanwhile.
///
/// Threads: fetch, try_fetch, prefetch, where, begin_pass, read_into, flush and stats from any
/// thread, beside each other and beside passes of an optimizer swapper. add and remove may run
/// beside them too; remove is `busy` while the parameter is leased.
class ParameterSwapper {
 public:
  /// Throws Error invalid_config (nvme without a path), forked.
  explicit ParameterSwapper(Context& context, ParameterSwapperOptions options = {});
  ParameterSwapper(ParameterSwapper&&) noexcept;
  ParameterSwapper& operator=(ParameterSwapper&&) noexcept;
  /// Waits for what is in flight, up to `io.shutdown_timeout`.
  ~ParameterSwapper();

  UnitId add_unit(std::string name);
  /// Reserves the space of one parameter (0 elements are legal). Throws Error: no_space with
  /// parameter, path, bytes needed and free (then nothing has changed), invalid_argument (unknown
  /// unit, negative size, init or adopt of another size, adopt on nvme).
  ParamId add(std::string name, std::int64_t elements, DType dtype,
              const TensorOptions& options = {});
  /// Its id is not used again; its space is free for parameters added later. Throws Error busy
  /// while it is leased.
  void remove(ParamId param);

  /// Allocates and checks the plan now instead of at first use. Throws Error does_not_fit with the
  /// sum written out, memlock_limit, out_of_memory.
  void seal();

  /// Waits until the range can be had, and reads what is not in memory.
  /// Throws Error: does_not_fit (needs more than the whole pool, and the cache cannot take the
  /// rest; with the smallest setting that works), timeout (with the holders and the largest free
  /// run), io_error, corrupt, no_space (a write that failed holds the memory), invalid_argument
  /// (unknown id, range outside).
  Lease fetch(ParamId param, Access access = Access::read, Range range = {});
  /// All parameters of the unit, or nothing: one claim on the budget.
  Lease fetch(UnitId unit, Access access = Access::read);
  /// A read lease if all of it is in memory and free for reading now. Never waits for I/O.
  std::optional<Lease> try_fetch(UnitId unit);
  std::optional<Lease> try_fetch(ParamId param, Range range = {});

  /// Starts to read what is not in memory, as far as free room goes; what does not fit is dropped
  /// and counted. Returns how many of the units (of one parameter: 0 or 1) are in memory or on
  /// their way now. Never waits.
  int prefetch(std::span<const UnitId> units);
  int prefetch(UnitId unit) { return prefetch(std::span(&unit, 1)); }
  int prefetch(ParamId param, Range range = {});

  Residence where(ParamId param) const;

  /// What follows is a pass called `name`: one learned order per name ("train", "eval"; at most 32
  /// are remembered). Read and update fetches of whole parameters make the order; overwrites and
  /// parts do not. Without any begin_pass() a loop is found by itself.
  void begin_pass(std::string_view name);

  /// Starts to copy a range into memory of the engine's: straight from the disk where `to` lies on
  /// 4096 bytes and the range begins on a multiple of 4096 elements (or of the disk's own
  /// alignment, where that is larger), never past its end. Odd memory, and what lies in host
  /// memory, is filled before the call returns, a part of the pool at a time. `to` must be as large
  /// as the range (checked).
  ReadInto read_into(ParamId param, std::span<std::byte> to, Range range = {});
  template <typename T>
  ReadInto read_into(ParamId param, std::span<T> to, Range range = {}) {
    static_assert(is_element<T>);
    check_dtype(param, dtype_of<T>);
    return read_into(param, std::as_writable_bytes(to), range);
  }

  /// Writes everything that memory alone holds and waits for it. Throws the first error.
  void flush();

  /// Valid until the next add() or remove().
  std::string_view name(ParamId param) const;
  std::int64_t elements(ParamId param) const;
  ParameterStats stats() const;

 private:
  friend class swap::Swapper;
  void check_dtype(ParamId param, DType dtype) const;
  std::shared_ptr<swap::Parameters> parameters_;
};

}  // namespace spillway
