#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spillway/dtype.h"
#include "spillway/error.h"
#include "spillway/pass.h"
#include "spillway/stats.h"

namespace spillway {

class Context;
class Lease;
class ParameterSwapper;
namespace swap {
struct Lease;
struct PassState;
class Swapper;
}  // namespace swap

/// A step or the passes after it cannot go on because parameters were left between old and new.
class StepError : public Error {
 public:
  StepError(const std::string& text, std::vector<ParamId> params)
      : Error(Errc::torn, text), params_(std::move(params)) {}
  const std::vector<ParamId>& params() const noexcept { return params_; }

 private:
  std::vector<ParamId> params_;
};

/// One column of optimizer state, for every element of every parameter.
struct State {
  std::string name = {};  ///< "master", "exp_avg", ...
  DType dtype = DType::f32;
  std::int64_t elements_per_value = 1;  ///< 256: one value for 256 elements (absmax of 8-bit Adam)
  double initial = 0;                   ///< every value, until first written
};

struct OptimizerOptions {
  std::vector<State> states = {};  ///< 1 to 32
  /// [bytes] of one tile; unset: the config's buffer_size, else 4 MiB
  std::optional<std::int64_t> tile_bytes = std::nullopt;
  bool undo = false;               ///< dropped tiles are old everywhere, for one copy
  bool whole_parameters = false;   ///< tiles end where parameters end, and hold whole ones
  std::string name = "optimizer";  ///< stands in messages
};

/// A state of the engine's own that stands in for ours (device none and cpu only): never copied,
/// never freed, alive and in place until the parameter is removed.
struct Adopted {
  std::string state;
  std::span<std::byte> memory;
};

/// First values of one state, copied before add() returns.
struct Initial {
  std::string state;
  std::span<const std::byte> values;  ///< elements / elements_per_value values
};

/// First values of one state from a parameter of a parameter swapper: a master from the 16-bit
/// copy that forward and backward use. As many elements, of the state's dtype, or f16 or bf16 for
/// an f32 state: every value is kept exactly.
///
/// Tile by tile, through the pipeline: when a pass first reads the state (`fast_init`), else when
/// the swapper is sealed. Until then the parameter must hold the values that are wanted, and its
/// swapper must live. A step may overwrite it slice by slice, attached to the tile. A pass that
/// only writes the state reads nothing of it, and reset() forgets it.
struct InitialFrom {
  std::string state;
  ParameterSwapper* swapper = nullptr;
  ParamId param{};  ///< of `swapper`
};

struct ParamOptions {
  UnitId unit = default_unit;
  std::uint64_t tag = 0;               ///< the engine's: comes back in every slice
  std::vector<Initial> init = {};      ///< sugar for write_state() after add()
  std::vector<InitialFrom> from = {};  ///< no I/O in add()
  std::vector<Adopted> adopt = {};
};

/// A run of elements of one parameter inside a tile.
class Slice {
 public:
  ParamId param{};
  std::uint64_t tag = 0;
  std::int64_t offset = 0;  ///< [elements] from the start of the parameter; a multiple of 4096
  std::int64_t count = 0;   ///< [elements]

  /// The values of `state` for these elements, 64-byte aligned (adopted memory: as it is):
  /// divide_up(count, elements_per_value) of them. `const T` promises not to change them, and is
  /// required for states that the pass only reads. A state that is only written starts undefined
  /// and must be written whole before commit.
  /// Throws Error invalid_argument: no such state in this pass, another dtype, an upcoming slice.
  template <typename T>
  std::span<T> of(std::string_view state) const {
    using Element = std::remove_const_t<T>;
    static_assert(is_element<Element>, "float, f16, bf16, std::int8_t or std::uint8_t");
    const std::span<std::byte> bytes = raw(state, dtype_of<Element>, !std::is_const_v<T>);
    return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(Element)};
  }
  /// The same for code that knows the dtype only at run time.
  std::span<std::byte> raw(std::string_view state, DType dtype, bool mutate) const;

 private:
  friend class swap::Swapper;
  friend struct swap::PassState;
  swap::Lease* lease_ = nullptr;
  std::uint32_t index_ = 0;
};

/// Something that becomes visible together with a tile: the leases of a parameter swapper, or the
/// engine's own. Destroyed without publish(), it must leave everything as it was.
class Attachment {
 public:
  virtual ~Attachment() = default;
  virtual void publish() noexcept = 0;
};

/// The right to use a tile's bytes: all states of a run of elements. Move-only; may be moved to,
/// committed and destroyed on any thread. Destroying one that was not committed drops it: nothing
/// blocks or throws, and what that means stands at OptimizerSwapper.
class Tile {
 public:
  Tile(Tile&& other) noexcept;
  Tile& operator=(Tile&& other) noexcept;
  ~Tile();

  std::span<const Slice> slices() const;

  /// The atomic point: from here on the tile is new for ever, whatever the disk does. The bytes
  /// and slices may not be used any more. Never waits for I/O.
  /// Throws Error invalid_argument if there is nothing to commit (twice, or moved from).
  void commit();

  /// Publishes `attachment` at commit; a drop destroys it unpublished.
  void attach(std::unique_ptr<Attachment> attachment);
  /// A lease of a parameter swapper: its new bytes become visible with this tile's commit, or not
  /// at all. (parameter_swapper.h declares Lease.)
  void attach(Lease lease);

 private:
  friend class swap::Swapper;
  explicit Tile(swap::Lease* lease) : lease_(lease) {}
  swap::Lease* lease_ = nullptr;
};

/// One pass over tiles, pulled by the engine:
///
///     Run run = swapper.begin_step(n);
///     while (auto tile = run.next()) {
///       for (const Slice& slice : tile->slices()) ...
///       tile->commit();
///     }
///
/// (Not `for (...; auto tile = run.next(); tile->commit())`: GCC destroys the tile before the
/// third clause, bug 86769. commit() then throws.)
///
/// Reads run ahead and writes behind as the config says. next() and upcoming() may be called by
/// several threads. Destroying a run early drains what is in flight, logs, throws nothing.
class Run {
 public:
  Run(Run&& other) noexcept;
  Run& operator=(Run&& other) noexcept;
  ~Run();

  /// The next tile, or nullopt when all have been visited and every committed one is safely
  /// written. (Tiles still held are not waited for; call again after committing them.)
  /// Throws Error:
  ///  - io_error, no_space, corrupt, ...: a read failed (of the tile, or of a parameter that its
  ///    first values come from), or a committed tile could not be written (its bytes are kept in
  ///    memory; begin() with the same step finishes it);
  ///  - would_deadlock: max(1, buffer_count - 1) tiles are held already;
  ///  - timeout: nothing moved for `io.timeout` seconds; lists what is in flight;
  ///  - StepError: a tile was dropped half changed.
  std::optional<Tile> next();

  /// Slices of the tiles that come next, nearest first, as far as reads run ahead, without data:
  /// to prefetch what the engine keeps elsewhere. Valid until the next call of next() or
  /// upcoming().
  std::span<const Slice> upcoming();

 private:
  friend class swap::Swapper;
  friend class OptimizerSwapper;
  Run(std::shared_ptr<swap::Swapper> swapper, swap::PassState* pass);
  std::shared_ptr<swap::Swapper> swapper_;
  swap::PassState* pass_ = nullptr;
};

/// Optimizer state that lives on `offload_optimizer.device` and visits host memory tile by tile.
///
/// All states of a run of elements form a tile, which is read, handed out and written as one.
/// Small parameters of a unit are packed into tiles; large ones are cut at multiples of 4096
/// elements; tiles never straddle units.
///
/// Dropping a tile (destroying it uncommitted): after `of<const T>` only, nothing has changed.
/// After mutable access it is old on the store; where memory is the home (resident share, device
/// cpu and none) its parameters are torn: StepError names them, and passes that read them are
/// refused until they are written again. `undo` buys old everywhere.
///
/// A step that was left early must be resumed (begin with the same number) before another one
/// starts: begin() throws step_incomplete otherwise, unless a write-only pass replaces the state.
/// A slice of which all that a step changed was written anew (write_state, or a pass that only
/// writes) does not hold that step any more: resumed, the step comes to it again.
///
/// Threads: begin(), next() and read_state() may be called from any thread; passes over disjoint
/// units may be open together. add, remove, write_state and reset are calls between passes:
/// Error busy while a run is open that they would disturb.
class OptimizerSwapper {
 public:
  /// Throws Error invalid_argument (no states, two of one name, elements_per_value < 1, tile too
  /// small for 4096 elements, ...). Allocates nothing big: that happens at first use.
  OptimizerSwapper(Context& context, OptimizerOptions options);
  OptimizerSwapper(OptimizerSwapper&&) noexcept;
  OptimizerSwapper& operator=(OptimizerSwapper&&) noexcept;
  /// Requires: no run is open. Waits for what is in flight, up to `io.shutdown_timeout`.
  ~OptimizerSwapper();

  UnitId add_unit(std::string name);
  /// Reserves the space of one parameter (0 elements are legal: it never appears in a slice).
  /// Throws Error: no_space with parameter, path, bytes needed and free (then nothing has changed),
  /// invalid_argument, does_not_fit (the records of its tiles, in host memory), busy (a run is
  /// open). No I/O, except for `init`.
  ParamId add(std::string name, std::int64_t elements, const ParamOptions& options = {});
  /// Its id is not used again; its space is free for parameters added later.
  void remove(ParamId param);

  /// Allocates and checks the plan now instead of at first use. Throws Error does_not_fit with the
  /// sum written out, memlock_limit, out_of_memory, no_space. Without fast_init, also writes the
  /// initial values of all states. Seals the parameter swappers that `from` names as well.
  void seal();

  Run begin(const Pass& pass);
  Run begin_step(std::int64_t step) {
    Pass pass;
    pass.step = step;
    return begin(pass);
  }
  /// The whole loop: `update` for every slice, commit for every tile.
  void step(std::int64_t step, const std::function<void(const Slice&)>& update);

  /// Copies the last committed values [offset, offset + values) of one state, during a run too.
  /// `offset` counts values (elements / elements_per_value). Throws Error: busy (memory is the
  /// tile's home and a pass holds it for writing without `undo`), torn, and what a read can throw.
  void read_state(ParamId param, std::string_view state, std::int64_t offset,
                  std::span<std::byte> to);
  template <typename T>
  void read_state(ParamId param, std::string_view state, std::int64_t offset, std::span<T> to) {
    static_assert(is_element<T>);
    check_dtype(state, dtype_of<T>);
    read_state(param, state, offset, std::as_writable_bytes(to));
  }
  void write_state(ParamId param, std::string_view state, std::int64_t offset,
                   std::span<const std::byte> from);
  template <typename T>
  void write_state(ParamId param, std::string_view state, std::int64_t offset,
                   std::span<const T> from) {
    static_assert(is_element<T>);
    check_dtype(state, dtype_of<T>);
    write_state(param, state, offset, std::as_bytes(from));
  }
  /// Every value of `state` becomes `value`, without I/O.
  void reset(std::string_view state, double value = 0);

  /// Valid until the next add().
  std::string_view name(ParamId param) const;
  std::int64_t elements(ParamId param) const;
  OptimizerStats stats() const;

 private:
  void check_dtype(std::string_view state, DType dtype) const;
  std::shared_ptr<swap::Swapper> swapper_;
};

}  // namespace spillway
