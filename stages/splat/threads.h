// Threads, memory, and what an exported function returns.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <system_error>
#include <thread>
#include <vector>
#if defined(_OPENMP)
#include <omp.h>
#endif

#include "simd.h"

enum Status { DONE = 0, OUT_OF_MEMORY = 1, UNEXPECTED = 2 };

// The status of the exception being handled: no exception may leave an exported function, as its caller is not C++.
static int failure() {
  try {
    throw;
  } catch (const std::bad_alloc &) {
    return OUT_OF_MEMORY;
  } catch (...) {
    return UNEXPECTED;
  }
}

// body(thread) for every thread in [0, threads).
template <class Body>
static void run_threads(int threads, Body body) {
  if (threads <= 1) {
    body(0);
    return;
  }
#if defined(_OPENMP)
  // Shares the thread pool of torch, which has loaded the same libgomp. OpenMP may grant fewer threads than asked for.
#pragma omp parallel num_threads(threads)
  for (int thread = omp_get_thread_num(); thread < threads; thread += omp_get_num_threads()) body(thread);
#else
  std::vector<std::thread> pool;
  pool.reserve(threads);
  int thread = 1;
  try {
    for (; thread < threads; thread++) pool.emplace_back([&body, thread] { body(thread); });
  } catch (const std::system_error &) {  // fewer threads than asked for, as OpenMP may grant: the rest is done here
  }
  for (; thread < threads; thread++) body(thread);
  body(0);
  for (std::thread &t : pool) t.join();
#endif
}

// body(begin, end, thread) on contiguous shares of [0, items).
template <class Body>
static void run_shares(int threads, int64_t items, Body body) {
  int64_t share = (items + threads - 1) / threads;
  run_threads(threads, [&](int thread) {
    int64_t begin = std::min(items, thread * share);
    int64_t end = std::min(items, begin + share);
    if (begin < end) body(begin, end, thread);
  });
}

// body(item) with items handed out one by one: for items of uneven cost.
template <class Body>
static void run_queue(int threads, int64_t items, Body body) {
  std::atomic<int64_t> next(0);
  run_threads(threads, [&](int) {
    for (int64_t item; (item = next.fetch_add(1)) < items;) body(item);
  });
}

// Uninitialised array on cache-line boundaries.
template <class T>
struct Buffer {
  T *data = nullptr;
  Buffer() = default;
  explicit Buffer(int64_t size) { resize(size); }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() { std::free(data); }
  void resize(int64_t size) {
    std::free(data);
    size_t bytes = (std::max<int64_t>(size, 1) * sizeof(T) + 127) / 64 * 64;
    data = static_cast<T *>(std::aligned_alloc(64, bytes));
    if (data == nullptr) throw std::bad_alloc();
  }
  T &operator[](int64_t i) { return data[i]; }
  const T &operator[](int64_t i) const { return data[i]; }
};

// Sums over all Gaussians (gradients of a camera) are taken chunk by chunk, so that they do not depend on the threads.
constexpr int64_t CHUNK = 64 * LANES;

INLINE int64_t chunks_of(int64_t gaussians) { return (gaussians + CHUNK - 1) / CHUNK; }

// partial [chunks, cameras, width] -> the first `width` numbers of each row of out [cameras, stride].
static void add_chunks(const Buffer<double> &partial, int64_t chunks, int64_t cameras, int width, int stride,
                       real *out) {
  for (int64_t camera = 0; camera < cameras; camera++) {
    for (int k = 0; k < width; k++) {
      double total = 0;
      for (int64_t chunk = 0; chunk < chunks; chunk++) total += partial[(chunk * cameras + camera) * width + k];
      out[camera * stride + k] = (real)total;
    }
  }
}
