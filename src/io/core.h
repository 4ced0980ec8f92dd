#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "io/backend.h"
#include "io/condition.h"
#include "io/engine.h"
#include "io/scheduler.h"

namespace spillway::io {

/// The engine behind Engine: one mutex, one I/O thread, one back-end at a time.
///
/// The I/O thread takes the mutex once per turn: it books what has completed, cuts new pieces,
/// and hands over what is done. Starting, waiting and callbacks happen outside it. Submitters wake
/// the thread only when it says that it sleeps.
///
/// The I/O thread shares ownership, so that a device that never answers can be left behind.
class Core {
 public:
  Core(std::unique_ptr<Backend> backend, const EngineOptions& options);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  /// Starts the I/O thread and opens the back-end in it. Throws Error unsupported, out_of_memory.
  static void start(const std::shared_ptr<Core>& core);

  FileId add_file(const FileSpec& spec);
  void remove_file(FileId file);
  const FileSpec& file(FileId file) const;
  TransferStats file_stats(FileId file, Op op) const;
  std::int64_t add_memory(std::span<std::byte> memory);
  void remove_memory(std::span<std::byte> memory);

  void submit(std::span<Request* const> batch);
  bool cancel(Request& request);
  void promote(Request& request);
  void wait(Request& request, TimePoint deadline);
  void call(const std::function<void()>& work);
  /// Of Condition. False: this is no callback, who waits may be woken now.
  bool put_off(Condition& condition) noexcept;
  void forget(Condition& condition) noexcept;
  Error error_of(const Request& request) const;
  std::string describe_in_flight() const;
  ShutdownResult shutdown(double timeout);
  EngineReport report() const;
  EngineStats stats() const;
  void record(std::shared_ptr<Timeline> timeline);
  double wait_timeout() const { return options_.wait_timeout; }

 private:
  // Work for the I/O thread; lives on the stack of whoever waits for it.
  struct Call {
    const std::function<void()>* work = nullptr;
    std::exception_ptr error;
    bool done = false;
    Call* next = nullptr;
  };

  bool on_io_thread() const;
  bool over(const Request& request) const;
  /// False: the I/O thread has ended, nothing was run.
  bool run_there(const std::function<void()>& work);
  DataFile& data_file(FileId file) const;
  std::string name_of(FileId file) const;
  void check_batch(std::span<Request* const> batch) const;
  std::string describe(const Request& request, std::int64_t now_ns) const;
  std::vector<std::string> list_in_flight(std::size_t limit, std::size_t& total) const;
  /// Unlocks, and wakes the I/O thread where it sleeps.
  void unlock_and_wake(std::unique_lock<std::mutex>& lock);

  // Steps of shutdown().
  void cancel_queued(std::unique_lock<std::mutex>& lock);
  void tell_to_quit(std::unique_lock<std::mutex>& lock);
  void join_or_leave(std::unique_lock<std::mutex>& lock);

  // All of these on the I/O thread (core_loop.cpp, core_results.cpp).
  void run();
  bool open_backend();
  void loop();
  bool change_backend(int error) noexcept;  // false: not now, for lack of memory
  void run_callbacks(RequestList& done);
  void run_calls(Call* first);
  void wake_put_off() noexcept;
  Call* take_calls();  // with the mutex held
  void end();
  // With the mutex held.
  void book(std::size_t count, std::int64_t now_ns);
  void take_result(Piece& piece, std::int64_t result, std::int64_t now_ns);
  void take_short(Piece& piece, std::int64_t moved, std::int64_t now_ns);
  void take_error(Piece& piece, int error, std::int64_t now_ns);
  void fail(Piece& piece, int error, bool no_progress);
  void leave(Piece& piece, std::int64_t now_ns);
  void finish(Request& request, std::int64_t now_ns);
  void release_held(std::int64_t now_ns);
  void hand_over();

  EngineOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;  // something is done: requests, calls, the thread
  std::int64_t waiters_ = 0;         // on changed_
  bool news_ = false;                // for them

  std::unique_ptr<Backend> backend_;  // replaced only by the I/O thread, with the mutex held
  std::unique_ptr<Backend> lost_;     // closed; its transfers may not be over. Kept to the end:
                                      // a submitter may still be about to wake it
  bool lost_is_gone_ = true;
  EngineReport report_;

  Scheduler scheduler_;
  RequestList finished_;          // their callbacks are to run
  RequestList held_;              // moved, but a lost back-end may still touch their memory
  std::int64_t called_back_ = 0;  // callbacks that have run and are not booked yet
  std::vector<Piece*> starting_;
  std::vector<Completion> results_;
  std::int64_t open_ = 0;                         // requests that were submitted and are not over
  std::atomic<const Request*> running_{nullptr};  // whose callback runs

  std::vector<std::unique_ptr<DataFile>> files_;  // by FileId; null: removed
  std::vector<std::span<std::byte>> memory_;      // registered with the back-end
  Call* calls_ = nullptr;
  Call* last_call_ = nullptr;
  Condition* put_off_ = nullptr;        // notified by callbacks; to wake when the device has work
  Condition* waking_ = nullptr;         // this one is being woken
  std::shared_ptr<Timeline> timeline_;  // null: nobody looks
  TransferStats reads_, writes_;
  EngineStats counters_;

  bool asleep_ = false;  // the I/O thread waits or is about to: wake it
  bool opened_ = false;  // or failed to:
  int open_error_ = 0;
  std::string open_why_;
  bool stopping_ = false;               // takes no more requests
  bool quit_ = false;                   // the I/O thread is to end
  std::atomic<bool> abandoned_{false};  // requests that are still open are nobody's
  bool ending_ = false;                 // the I/O thread has left its loop
  bool ended_ = false;                  // and has nothing more to do
  bool joined_ = false;                 // or detached
  std::int64_t gone_limit_ns_ = 0;      // how long the end waits for the kernel to let go
  ShutdownResult result_;

  std::thread thread_;
};

/// [ns] since some fixed time.
inline std::int64_t nanoseconds_now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
      .count();
}

}  // namespace spillway::io
