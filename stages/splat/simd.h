// Vectors of the processor's own width, and the number type of the kernel.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#if defined(__AVX__)
#include <immintrin.h>
#endif

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

#define EXPORT extern "C" __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER inline __attribute__((always_inline))

constexpr bool IS_FLOAT = sizeof(real) == 4;

// Vectors of the CPU's own width: gcc lowers wider ones several times slower than narrower ones.
#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define WIDE_VECTORS 1
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX__)
#define WIDE_VECTORS 0
constexpr int VECTOR_BYTES = 32;
#else
#define WIDE_VECTORS 0
constexpr int VECTOR_BYTES = 4 * sizeof(real);  // a block is at least one row of four pixels
#endif
constexpr int LANES = VECTOR_BYTES / sizeof(real);

typedef real Vec __attribute__((vector_size(VECTOR_BYTES)));
typedef decltype(Vec{} < Vec{}) Mask;  // integers of the same width, 0 or -1 in each lane

INLINE Vec fill(real x) { return x - Vec{}; }
INLINE Vec minimum(Vec a, Vec b) { return a < b ? a : b; }
INLINE Vec maximum(Vec a, Vec b) { return a > b ? a : b; }
INLINE Vec keep(Mask mask, Vec x) { return mask ? x : fill(0); }

INLINE Vec square_root(Vec x) {
#if WIDE_VECTORS
  if constexpr (IS_FLOAT) return (Vec)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX__)
  if constexpr (IS_FLOAT) return (Vec)_mm256_sqrt_ps((__m256)x);
#endif
  Vec result;
  for (int lane = 0; lane < LANES; lane++) result[lane] = std::sqrt(x[lane]);
  return result;
}

INLINE bool any(Mask mask) {
#if WIDE_VECTORS
  if constexpr (IS_FLOAT) return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(__AVX__)
  if constexpr (IS_FLOAT) return _mm256_movemask_ps((__m256)mask) != 0;
#endif
  bool result = false;
  for (int lane = 0; lane < LANES; lane++) result |= mask[lane] != 0;
  return result;
}

INLINE real sum(Vec x) {
#if WIDE_VECTORS
  if constexpr (IS_FLOAT) return _mm512_reduce_add_ps((__m512)x);
#endif
  real result = 0;
  for (int lane = 0; lane < LANES; lane++) result += x[lane];
  return result;
}

// 2^x for |x| < 126, relative error below 2e-7: the integer part goes to the exponent bits, a polynomial takes the
// rest.
INLINE Vec exp2_fast(Vec x) {
  if constexpr (IS_FLOAT) {
    const float round_to_integer = 12582912.f;  // 1.5 * 2^23
    Vec shifted = x + (real)round_to_integer;
    Vec f = x - (shifted - (real)round_to_integer);
    Vec p = f * (real)1.535336188319500e-4 + (real)1.339887440266574e-3;
    p = p * f + (real)9.618437357674640e-3;
    p = p * f + (real)5.550332471162809e-2;
    p = p * f + (real)2.402264791363012e-1;
    p = p * f + (real)6.931472028550421e-1;
    p = p * f + (real)1;
    return (Vec)((Mask)p + ((Mask)shifted << 23));
  }
  Vec result;
  for (int lane = 0; lane < LANES; lane++) result[lane] = std::exp2(x[lane]);
  return result;
}

// Natural logarithm of positive normal numbers (polynomial of Cephes logf on [sqrt(1/2), sqrt(2))).
INLINE Vec log_fast(Vec x) {
  if constexpr (IS_FLOAT) {
    Mask bits = (Mask)x;
    Mask exponent = (bits - 0x3f3504f3) >> 23;
    Vec e = __builtin_convertvector(exponent, Vec);
    Vec f = (Vec)(bits - (exponent << 23)) - (real)1;
    Vec f2 = f * f;
    Vec p = f * (real)7.0376836292e-2 - (real)1.1514610310e-1;
    p = p * f + (real)1.1676998740e-1;
    p = p * f - (real)1.2420140846e-1;
    p = p * f + (real)1.4249322787e-1;
    p = p * f - (real)1.6668057665e-1;
    p = p * f + (real)2.0000714765e-1;
    p = p * f - (real)2.4999993993e-1;
    p = p * f + (real)3.3333331174e-1;
    p = p * f * f2 + e * (real)-2.12194440e-4 - (real)0.5 * f2;
    return f + p + e * (real)0.693359375;
  }
  Vec result;
  for (int lane = 0; lane < LANES; lane++) result[lane] = std::log(x[lane]);
  return result;
}

struct Matrix {
  Vec at[3][3];
};

// Loads WIDTH values for each of LANES rows; rows beyond `count` repeat the last one.
template <int WIDTH>
INLINE void load_rows(const real *rows, int64_t first, int count, Vec *out) {
  for (int k = 0; k < WIDTH; k++) {
    for (int lane = 0; lane < LANES; lane++) out[k][lane] = rows[(first + std::min(lane, count - 1)) * WIDTH + k];
  }
}

template <int WIDTH>
INLINE void store_rows(real *rows, int64_t first, int count, const Vec *values) {
  for (int lane = 0; lane < count; lane++) {
    for (int k = 0; k < WIDTH; k++) rows[(first + lane) * WIDTH + k] = values[k][lane];
  }
}

INLINE bool is_visible(const int32_t *radii, int64_t row) { return radii[2 * row] > 0 && radii[2 * row + 1] > 0; }

INLINE Mask load_visible(const int32_t *radii, int64_t first, int count) {
  Mask mask = {};
  for (int lane = 0; lane < count; lane++) mask[lane] = is_visible(radii, first + lane) ? -1 : 0;
  return mask;
}
