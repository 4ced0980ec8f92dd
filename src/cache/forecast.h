#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cache/cycle.h"
#include "cache/follower.h"
#include "cache/order.h"
#include "cache/succession.h"
#include "cache/tensor_id.h"

namespace spillway::cache {

/// A place on the line of all accesses, those to come included. Only the order of two times and
/// their difference within one generation of a forecast mean something.
using Time = std::uint64_t;
inline constexpr Time first_time = 1;  // so that 0 is before all of them
inline constexpr Time never = std::numeric_limits<Time>::max();

/// A predicted access.
struct Use {
  TensorId id = no_tensor;
  Time when = never;
};

/// When each tensor will be used next, from what earlier passes of the same names did.
///
/// Each name has the order of its last pass and the names that came after it, so that the future
/// is a chain: the rest of this pass, the pass that is likely next, the one after that, …
///   train   a b c c b a | a b c c b a | …    at the second c, b is used in 1, a in 2, c in 5
/// A pass that runs as its order said costs O(1) per access and learns nothing new; a running
/// pass is written down only from its first difference on. Where a name is new or its order has
/// broken, known() is false and nothing is predicted; a name whose order broke twice in a row, or
/// before any pass has confirmed it, must first go as predicted for a while (or for a whole pass)
/// before it is believed again.
///
/// Without any begin_pass the stream of accesses counts as passes of one nameless loop, if it is
/// one. At most 32 names are remembered, so passes are named by what they do ("train", "eval"),
/// not by their number.
///
/// Not thread-safe; its owner holds a lock.
class Forecast {
 public:
  /// The pass that runs ends, one called `name` begins.
  void begin_pass(std::string_view name);
  /// A read or an update of `id`. Overwrites are not part of an order.
  void access(TensorId id);
  /// So many elements were overwritten, which makes no order but belongs to a pass too.
  void overwritten(std::int64_t elements) { overwritten_ += elements; }
  /// `id` is removed: no pass will use it, until it is accessed as another tensor.
  void forget(TensorId id);

  /// Whether the next uses are predicted now.
  bool known() const { return known_; }
  /// Changes when times given before do not hold any more.
  std::uint64_t generation() const { return generation_; }
  /// Tensors that the last access() gave up waiting for: only their next uses have changed
  /// beside that of the tensor that was accessed.
  std::span<const TensorId> overdue() const { return {overdue_.data(), overdue_count_}; }

  /// The next predicted use of `id` at or after `from`, not earlier than now. O(log n).
  Time next_use(TensorId id, Time from = 0) const;
  /// The first predicted access at or after `from`, not earlier than now; nullopt at the end of
  /// what is known. The ids of removed tensors may be among those of a pass that still runs.
  std::optional<Use> predicted(Time from) const;
  Time now() const;
  /// Where the pass that runs ends and the predicted one behind it begins; never where none is.
  Time pass_end() const { return known_ && links_ > 1 ? chain_[1].start : never; }
  /// Whether as much has been overwritten in this pass as in the last one of its name: before
  /// that, what the next pass will use is not worth reading.
  bool stepped() const {
    return current_ == Succession::unknown || overwritten_ >= books_[current_].overwritten;
  }

  std::size_t heap_bytes() const;

 private:
  static constexpr std::size_t max_names = 32;
  static constexpr std::size_t chain_length = 4;
  static constexpr int doubtful = 2;
  static constexpr std::uint64_t calm_to_believe = 64;

  struct Book {
    std::string name;
    Order order;
    Succession after;
    std::int64_t overwritten = 0;  // [elements] in the last pass
    bool learned = false;
    bool confirmed = false;  // a pass has gone by it
    int broken_in_a_row = 0;
    std::uint64_t last_begun = 0;

    bool believed() const { return broken_in_a_row < (confirmed ? doubtful : 1); }
  };
  struct Link {
    const Book* book = nullptr;
    Time start = 0;
  };
  using PassNumber = Succession::PassNumber;

  void start_pass(std::string_view name);
  PassNumber book_for(std::string_view name);
  void finish_pass();
  bool went_as_predicted() const;
  void record(TensorId id);
  void chain_from(PassNumber first, Time start);
  bool chain_on(PassNumber first);
  void set_known(bool known);

  std::vector<Book> books_;
  PassNumber current_ = Succession::unknown;
  std::uint64_t begun_ = 0;
  std::int64_t overwritten_ = 0;  // [elements] in the running pass

  std::array<Link, chain_length> chain_{};
  std::size_t links_ = 0;
  Follower follower_;
  bool known_ = false;
  bool following_ = false;  // an order exists and has not broken; known_, or on probation
  std::uint64_t generation_ = 0;
  std::array<TensorId, Follower::window> overdue_{};
  std::size_t overdue_count_ = 0;

  // The running pass: `exact_` while it equals its order up to `accesses_`, else written down.
  bool exact_ = false;
  Order::Position accesses_ = 0;
  std::vector<TensorId> recording_;
  bool recordable_ = false;
  std::size_t record_limit_ = 1 << 16;

  bool named_ = false;
  CycleFinder cycles_;
};

}  // namespace spillway::cache
