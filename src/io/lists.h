#pragma once

#include "base/check.h"
#include "io/request.h"

namespace spillway::io {

/// A FIFO of requests, linked through themselves: O(1) everywhere, no allocation. A request is in
/// at most one list.
class RequestList {
 public:
  RequestList() = default;
  RequestList(const RequestList&) = delete;
  RequestList& operator=(const RequestList&) = delete;

  bool empty() const { return first_ == nullptr; }
  Request* front() const { return first_; }
  static Request* after(const Request& request) { return request.next_; }
  bool holds(const Request& request) const { return request.list_ == this; }

  void push_back(Request& request) {
    SPILLWAY_CHECK(request.list_ == nullptr, "a request is in two queues");
    request.list_ = this;
    request.next_ = nullptr;
    request.previous_ = last_;
    (last_ != nullptr ? last_->next_ : first_) = &request;
    last_ = &request;
  }
  void remove(Request& request) {
    SPILLWAY_CHECK(request.list_ == this, "a request is not in this queue");
    (request.previous_ != nullptr ? request.previous_->next_ : first_) = request.next_;
    (request.next_ != nullptr ? request.next_->previous_ : last_) = request.previous_;
    request.next_ = request.previous_ = nullptr;
    request.list_ = nullptr;
  }
  Request* pop_front() {
    Request* const request = first_;
    if (request != nullptr) remove(*request);
    return request;
  }
  /// Appends all of `other`.
  void take(RequestList& other) {
    while (Request* const request = other.pop_front()) push_back(*request);
  }

 private:
  Request* first_ = nullptr;
  Request* last_ = nullptr;
};

}  // namespace spillway::io
