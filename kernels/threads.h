// SPDX-License-Identifier: Apache-2.0
// The CPU library's own threads. They sleep while there is nothing to do, where OpenMP's would go on spinning for
// milliseconds on cores that the graph needs, and they share no setting with torch. A forked child starts its own.
#pragma once
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

// Rows that are handed out in chunks to whoever comes for them.
struct Job {
  void (*run)(const void* body, int64_t begin, int64_t end);
  const void* body;
  int64_t count, chunk;
  int32_t wanted, at_work = 0;  // helpers that may still join, and that have; under the lock
  std::atomic<int64_t> next{0};

  void work() {
    for (int64_t begin; (begin = next.fetch_add(chunk)) < count;) run(body, begin, std::min(begin + chunk, count));
  }
};

class Threads {
 public:
  static thread_local int32_t wanted;  // by the launches of this thread, itself included

  static Threads& ours() {
    static const int once = pthread_atfork(nullptr, nullptr, [] { pool = new Threads; });
    (void)once;
    return *pool;
  }

  void help(Job& job) {
    std::unique_lock<std::mutex> lock(mutex_);
    jobs_.push_back(&job);
    while (started_ < job.wanted && start()) {
    }
    lock.unlock();
    wake_.notify_all();
    job.work();
    lock.lock();
    jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
    done_.wait(lock, [&] { return job.at_work == 0; });
  }

 private:
  static Threads* pool;  // never freed: its threads wait in it until the process ends
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<Job*> jobs_;
  int32_t started_ = 0;

  bool start() {
    try {
      std::thread([this] { serve(); }).detach();
      return ++started_;
    } catch (const std::exception&) {
      return false;  // no more threads to be had: the others do the work
    }
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      auto open = std::find_if(jobs_.begin(), jobs_.end(), [](Job* job) { return job->wanted > 0; });
      if (open == jobs_.end()) {
        wake_.wait(lock);
        continue;
      }
      Job& job = **open;
      --job.wanted;
      ++job.at_work;
      lock.unlock();
      job.work();
      lock.lock();
      if (--job.at_work == 0) done_.notify_all();
    }
  }
};

inline Threads* Threads::pool = new Threads;
inline thread_local int32_t Threads::wanted = 1;

// FOR_EACH_ROW: `Rows{count} = body` calls body(row) for each, on this thread and on helpers.
struct Rows {
  int64_t count;

  template <class Body>
  void operator=(const Body& body) const {
    const auto run = [](const void* made, int64_t begin, int64_t end) {
      const Body own = *static_cast<const Body*>(made);  // a copy that nobody else can change stays in registers
      for (int64_t r = begin; r < end; ++r) own(r);
    };
    const int32_t threads = (int32_t)std::min<int64_t>(Threads::wanted, count);
    if (threads <= 1) return run(&body, 0, count);
    Job job{run, &body, count, std::clamp<int64_t>(count / (8 * threads), 1, 256), threads - 1};
    Threads::ours().help(job);
  }
};
