#include "cache/forecast.h"

#include <algorithm>

namespace spillway::cache {
namespace {

// `ids = {}` would keep the memory.
void release(std::vector<TensorId>& ids) { std::vector<TensorId>().swap(ids); }

}  // namespace

void Forecast::begin_pass(std::string_view name) {
  named_ = true;
  start_pass(name);
}

void Forecast::access(TensorId id) {
  overdue_count_ = 0;
  // A pass that never ends must not be written down for ever.
  record_limit_ = std::max(record_limit_, std::size_t{id} * 32);
  if (!named_ && cycles_.access(id)) start_pass({});
  if (current_ == Succession::unknown) return;
  record(id);
  if (!following_) return;

  const Follower::Seen seen = follower_.follow(id);
  for (const Order::Position position : follower_.skipped())
    overdue_[overdue_count_++] = books_[current_].order.at(position);
  if (seen == Follower::Seen::jumped) ++generation_;
  if (follower_.broken()) {
    following_ = false;
    ++books_[current_].broken_in_a_row;
    set_known(false);
    if (!named_) cycles_.distrust();
  } else if (!known_ && follower_.calm() >= calm_to_believe) {
    set_known(true);
  }
}

void Forecast::forget(TensorId id) {
  for (Book& book : books_) book.order.forget(id);
  if (following_) follower_.settle();
}

void Forecast::start_pass(std::string_view name) {
  const bool predicted = known_ && went_as_predicted();
  const PassNumber before = current_;
  finish_pass();
  current_ = book_for(name);
  if (before != Succession::unknown && books_[before].name.empty() == name.empty())
    books_[before].after.learn(current_);

  Book& book = books_[current_];
  book.last_begun = ++begun_;
  if (!predicted || !chain_on(current_)) {
    chain_from(current_, first_time);
    ++generation_;
  }
  following_ = book.learned;
  exact_ = book.learned;
  accesses_ = 0;
  overwritten_ = 0;
  recordable_ = true;
  if (following_) follower_.start(book.order, book.confirmed);
  const bool known = following_ && book.believed();
  if (known != known_) set_known(known);
}

// Books are numbered for good; a new name takes the number of the one begun longest ago.
Forecast::PassNumber Forecast::book_for(std::string_view name) {
  const auto found = std::ranges::find(books_, name, &Book::name);
  if (found != books_.end()) return static_cast<PassNumber>(found - books_.begin());
  if (books_.capacity() == 0) books_.reserve(max_names);  // links point at books
  if (books_.size() < max_names) {
    books_.emplace_back().name = name;
    return static_cast<PassNumber>(books_.size() - 1);
  }
  const auto oldest = std::ranges::min_element(books_, {}, &Book::last_begun);
  const auto number = static_cast<PassNumber>(oldest - books_.begin());
  *oldest = Book();
  oldest->name = name;
  for (Book& book : books_) book.after.forget(number);
  return number;
}

bool Forecast::went_as_predicted() const {
  if (current_ == Succession::unknown || !exact_) return false;
  const Order& order = books_[current_].order;
  Order::Position rest = accesses_;
  while (rest < order.length() && order.at(rest) == no_tensor) ++rest;
  return rest == order.length();
}

void Forecast::finish_pass() {
  if (current_ == Succession::unknown) return;
  Book& book = books_[current_];
  book.overwritten = overwritten_;
  if (following_ && follower_.astray()) {
    ++book.broken_in_a_row;
  } else if (following_) {
    book.broken_in_a_row = 0;
    book.confirmed = true;
  }
  if (went_as_predicted()) return;
  if (exact_) {  // it ended early
    const auto seen = book.order.sequence().first(accesses_);
    recording_.assign(seen.begin(), seen.end());
  }
  book.learned = recordable_ && !recording_.empty();
  if (book.learned) {
    book.order.learn(recording_);
  } else {
    book.order.clear();
  }
  // A steady loop needs this again only when it changes; until then the memory is better used.
  release(recording_);
}

void Forecast::record(TensorId id) {
  const Order& order = books_[current_].order;
  if (exact_) {
    while (accesses_ < order.length() && order.at(accesses_) == no_tensor) ++accesses_;
    if (accesses_ < order.length() && order.at(accesses_) == id) {
      ++accesses_;
      return;
    }
    exact_ = false;
    const auto seen = order.sequence().first(accesses_);
    recording_.assign(seen.begin(), seen.end());
  }
  if (!recordable_) return;
  if (recording_.size() >= std::min(record_limit_, Order::max_length)) {
    recordable_ = false;
    release(recording_);
    return;
  }
  recording_.push_back(id);
}

void Forecast::chain_from(PassNumber first, Time start) {
  links_ = 0;
  for (PassNumber pass = first; links_ < chain_length; pass = books_[pass].after.next()) {
    if (pass == Succession::unknown || !books_[pass].learned) break;
    chain_[links_++] = {&books_[pass], start};
    start += books_[pass].order.length();
  }
}

// Whether the pass now beginning and those behind it are the ones foreseen: then the chain moves
// on by one link, and all times that were given stay good, but for `never`.
bool Forecast::chain_on(PassNumber first) {
  const auto foreseen = chain_;
  const std::size_t links = links_;
  if (links < 2) return false;
  chain_from(first, foreseen[1].start);
  if (links_ + 1 < links) return false;
  for (std::size_t i = 0; i + 1 < links; ++i)
    if (chain_[i].book != foreseen[i + 1].book) return false;
  // What only a pass that has come into sight will use was said to be used never.
  for (std::size_t i = links - 1; i < links_; ++i) {
    const auto before = std::span(chain_).first(i);
    if (std::ranges::find(before, chain_[i].book, &Link::book) == before.end()) ++generation_;
  }
  return true;
}

void Forecast::set_known(bool known) {
  known_ = known;
  ++generation_;
}

Time Forecast::now() const { return known_ ? chain_[0].start + follower_.position() : 0; }

Time Forecast::next_use(TensorId id, Time from) const {
  if (!known_) return never;
  from = std::max(from, now());
  for (std::size_t i = 0; i < links_; ++i) {
    const Order& order = chain_[i].book->order;
    const Time start = chain_[i].start;
    if (from >= start + order.length()) continue;
    Order::Position at =
        order.next(id, from <= start ? 0 : static_cast<Order::Position>(from - start));
    while (i == 0 && at != Order::none && follower_.seen(at)) at = order.next(id, at + 1);
    if (at != Order::none) return start + at;
  }
  return never;
}

std::optional<Use> Forecast::predicted(Time from) const {
  if (!known_) return std::nullopt;
  from = std::max(from, now());
  for (std::size_t i = 0; i < links_; ++i) {
    const Order& order = chain_[i].book->order;
    const Time start = chain_[i].start;
    if (from >= start + order.length()) continue;
    auto at = from <= start ? 0 : static_cast<Order::Position>(from - start);
    for (; at < order.length(); ++at)
      if (order.at(at) != no_tensor && !(i == 0 && follower_.seen(at)))
        return Use{order.at(at), start + at};
  }
  return std::nullopt;
}

std::size_t Forecast::heap_bytes() const {
  std::size_t sum = books_.capacity() * sizeof(Book) + recording_.capacity() * sizeof(TensorId);
  for (const Book& book : books_) sum += book.order.heap_bytes() + book.name.capacity();
  return sum;
}

}  // namespace spillway::cache
