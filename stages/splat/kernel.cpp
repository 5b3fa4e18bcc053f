// Renders coloured 3D Gaussians on the CPU, forward and backward.
//
// The image model is that of gsplat 1.5.3 `rasterization` (pinhole camera, classic or antialiased), whose formulas this file
// follows (https://github.com/nerfstudio-project/gsplat, Apache-2.0; Ye et al. 2024, "gsplat", and Kerbl et al. 2023 derive them).
// A pixel centre p sees the Gaussians with near <= z <= far in the order of (float32 depth, index):
//
//   sigma = (p - m)^T Q (p - m) / 2         m: projected mean, Q: inverse of the 2D covariance
//   alpha = min(0.999, opacity exp(-sigma)) skipped below 1/255
//   T'    = T (1 - alpha)                   the pixel closes before the Gaussian that would bring T' to 1e-4 or below
//   image = sum alpha T colour + T_end background
//
// Q is kept as three numbers of its Cholesky factor: with d = p - m and t = d_x - shear d_y,
//
//   sigma = (root_x^2 t^2 + root_y^2 d_y^2) / 2
//   shear = cov_xy / cov_yy,  root_y = cov_yy^-1/2,  root_x = (cov_yy / det cov)^1/2
//
// In float32 the entries of Q of a needle cancel to nothing along the needle; the factor, and gradients by it, stay exact.
//
// No step depends on tiles, so any tile size and any exact culling gives the same image.
//
// How it is fast: the image is cut into tiles of 32x32 pixels, a tile into blocks of 4x4 pixels, and one block is one SIMD vector.
// A tile walks its Gaussians front to back and touches only blocks inside the exact extent of {alpha >= 1/255}.
// How it is deterministic: every output is a sum in an order that does not depend on the number of threads. The compositing
// backward writes one slot for each (Gaussian, tile) and a second pass adds the slots of a Gaussian; no atomics.
//
// Arrays are dense and row-major. C: cameras, N: Gaussians, K: harmonics, D: channels, H x W: image. `real` is float; tests
// build it as double. Culled Gaussians have radii 0 and contribute neither values nor gradients, whatever NaN they hold.
// Compile with -fno-math-errno -fno-trapping-math, never -ffast-math (NaN matters here). GCC or Clang vector extensions.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <thread>
#include <utility>
#include <vector>
#if defined(_OPENMP)
#include <omp.h>
#endif
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

// ---------------------------------------------------------------------------------------------------------------- vector helpers

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
INLINE Vec absolute(Vec x) { return x < fill(0) ? -x : x; }
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

// 2^x for |x| < 126, relative error below 2e-7: the integer part goes to the exponent bits, a polynomial takes the rest.
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

// ---------------------------------------------------------------------------------------------------------------- threads, memory

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
  for (int thread = 1; thread < threads; thread++) pool.emplace_back([&body, thread] { body(thread); });
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
static void add_chunks(const Buffer<double> &partial, int64_t chunks, int64_t cameras, int width, int stride, real *out) {
  for (int64_t camera = 0; camera < cameras; camera++) {
    for (int k = 0; k < width; k++) {
      double total = 0;
      for (int64_t chunk = 0; chunk < chunks; chunk++) total += partial[(chunk * cameras + camera) * width + k];
      out[camera * stride + k] = (real)total;
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------- projection

constexpr real ALPHA_MIN = (real)(1.0 / 255.0);
constexpr real ALPHA_MAX = (real)0.999;
constexpr real TRANSMITTANCE_MIN = (real)1e-4;
constexpr real EXTENT_MAX = (real)3.33;  // standard deviations at which even an opaque Gaussian is below 1/255
constexpr real MARGIN = (real)0.3;       // how far outside the image the Jacobian is still taken at the mean

struct Camera {
  real view[3][4];  // world to camera
  real fx, fy, cx, cy;
  real x_min, x_max, y_min, y_max;  // limits of x / z and y / z for the Jacobian
};

static Camera make_camera(const real *view, const real *intrinsics, int width, int height) {
  Camera camera;
  for (int i = 0; i < 3; i++) {
    for (int j = 0; j < 4; j++) camera.view[i][j] = view[4 * i + j];
  }
  camera.fx = intrinsics[0];
  camera.fy = intrinsics[4];
  camera.cx = intrinsics[2];
  camera.cy = intrinsics[5];
  real margin_x = MARGIN * (real)0.5 * width / camera.fx;
  real margin_y = MARGIN * (real)0.5 * height / camera.fy;
  camera.x_min = -camera.cx / camera.fx - margin_x;
  camera.x_max = (width - camera.cx) / camera.fx + margin_x;
  camera.y_min = -camera.cy / camera.fy - margin_y;
  camera.y_max = (height - camera.cy) / camera.fy + margin_y;
  return camera;
}

// LANES Gaussians: mean, scale, and the rotation R(q) of the normalised quaternion q = (w, x, y, z).
struct Ellipsoids {
  Vec mean[3], scale[3];
  Vec w, x, y, z, inverse_norm;
  Matrix rotation;
};

INLINE Ellipsoids load_ellipsoids(const real *means, const real *quats, const real *scales, int64_t first, int count) {
  Ellipsoids g;
  Vec q[4];
  load_rows<3>(means, first, count, g.mean);
  load_rows<4>(quats, first, count, q);
  load_rows<3>(scales, first, count, g.scale);
  g.inverse_norm = (real)1 / square_root(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  Vec w = g.w = q[0] * g.inverse_norm;
  Vec x = g.x = q[1] * g.inverse_norm;
  Vec y = g.y = q[2] * g.inverse_norm;
  Vec z = g.z = q[3] * g.inverse_norm;
  Vec(&R)[3][3] = g.rotation.at;
  R[0][0] = 1 - 2 * (y * y + z * z);
  R[0][1] = 2 * (x * y - w * z);
  R[0][2] = 2 * (x * z + w * y);
  R[1][0] = 2 * (x * y + w * z);
  R[1][1] = 1 - 2 * (x * x + z * z);
  R[1][2] = 2 * (y * z - w * x);
  R[2][0] = 2 * (x * z - w * y);
  R[2][1] = 2 * (y * z + w * x);
  R[2][2] = 1 - 2 * (x * x + y * y);
  return g;
}

// What both passes need of LANES Gaussians in one camera V = [R_v | t]:
//   point = R_v mean + t
//   M     = R_v R(q) S                       square root of the covariance in camera space
//   J     = [fx/z 0 -fx tx/z^2; 0 fy/z -fy ty/z^2]   Jacobian of the projection, tx/z and ty/z clamped to the camera's limits
//   cov   = (J M)(J M)^T + eps2d I           covariance in the image
// With a, b the rows of J M, det(J M M^T J^T) = |a x b|^2, which needles do not cancel.
struct Footprint {
  Vec point[3], inverse_z;
  Matrix M;
  Vec tx, ty;
  Mask inside_x, inside_y;  // the clamp did nothing
  Vec j00, j02, j11, j12;
  Vec a[3], b[3], cross[3];
  Vec cov_xx, cov_xy, cov_yy;
  Vec det_sharp, det;  // determinant without and with eps2d
};

INLINE Vec dot(const Vec *a, const Vec *b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

INLINE void cross_product(const Vec *a, const Vec *b, Vec *out) {
  out[0] = a[1] * b[2] - a[2] * b[1];
  out[1] = a[2] * b[0] - a[0] * b[2];
  out[2] = a[0] * b[1] - a[1] * b[0];
}

INLINE Footprint project(const Ellipsoids &g, const Camera &camera, real eps2d) {
  Footprint f;
  const auto &V = camera.view;
  for (int i = 0; i < 3; i++) f.point[i] = V[i][0] * g.mean[0] + V[i][1] * g.mean[1] + V[i][2] * g.mean[2] + V[i][3];
  for (int i = 0; i < 3; i++) {
    for (int j = 0; j < 3; j++) {
      const Vec(&R)[3][3] = g.rotation.at;
      f.M.at[i][j] = (V[i][0] * R[0][j] + V[i][1] * R[1][j] + V[i][2] * R[2][j]) * g.scale[j];
    }
  }
  f.inverse_z = (real)1 / f.point[2];
  Vec x = f.point[0] * f.inverse_z;
  Vec y = f.point[1] * f.inverse_z;
  f.inside_x = (x >= fill(camera.x_min)) & (x <= fill(camera.x_max));
  f.inside_y = (y >= fill(camera.y_min)) & (y <= fill(camera.y_max));
  f.tx = f.point[2] * minimum(fill(camera.x_max), maximum(fill(camera.x_min), x));
  f.ty = f.point[2] * minimum(fill(camera.y_max), maximum(fill(camera.y_min), y));
  f.j00 = camera.fx * f.inverse_z;
  f.j11 = camera.fy * f.inverse_z;
  f.j02 = -camera.fx * f.tx * f.inverse_z * f.inverse_z;
  f.j12 = -camera.fy * f.ty * f.inverse_z * f.inverse_z;
  for (int j = 0; j < 3; j++) {
    f.a[j] = f.j00 * f.M.at[0][j] + f.j02 * f.M.at[2][j];
    f.b[j] = f.j11 * f.M.at[1][j] + f.j12 * f.M.at[2][j];
  }
  cross_product(f.a, f.b, f.cross);
  Vec aa = dot(f.a, f.a);
  Vec bb = dot(f.b, f.b);
  f.cov_xx = aa + eps2d;
  f.cov_yy = bb + eps2d;
  f.cov_xy = dot(f.a, f.b);
  f.det_sharp = dot(f.cross, f.cross);
  f.det = f.det_sharp + eps2d * (aa + bb + eps2d);
  return f;
}

struct Limits {
  real near, far, radius_clip;
  int width, height;
};

// Half sizes in pixels of the box around {alpha >= 1/255}, or zeros where the Gaussian cannot be seen.
INLINE void bounding_radii(real x, real y, real sigma_x, real sigma_y, real opacity, const Limits &limits, int32_t *radii) {
  radii[0] = 0;
  radii[1] = 0;
  if (!(opacity >= ALPHA_MIN)) return;
  real extent = std::min(EXTENT_MAX, std::sqrt(2 * std::log(opacity / ALPHA_MIN)));
  real radius_x = std::ceil(extent * sigma_x);
  real radius_y = std::ceil(extent * sigma_y);
  bool too_small = radius_x <= limits.radius_clip && radius_y <= limits.radius_clip;
  bool on_screen = x + radius_x > 0 && x - radius_x < limits.width && y + radius_y > 0 && y - radius_y < limits.height;
  if (too_small || !on_screen) return;
  radii[0] = (int32_t)std::min<real>(radius_x, 1e9);
  radii[1] = (int32_t)std::min<real>(radius_y, 1e9);
}

// means [N, 3], quats [N, 4], scales [N, 3], opacities [N], views [C, 4, 4], intrinsics [C, 3, 3] ->
// radii [C, N, 2], means2d [C, N, 2], depths [C, N], factors [C, N, 3] = (root_x, shear, root_y), compensations [C, N] or null.
EXPORT void splat_project_forward(int64_t cameras, int64_t gaussians, const real *means, const real *quats, const real *scales,
                                  const real *opacities, const real *views, const real *intrinsics, int width, int height,
                                  real eps2d, real near, real far, real radius_clip, int32_t *radii, real *means2d,
                                  real *depths, real *factors, real *compensations, int threads) {
  Limits limits{near, far, radius_clip, width, height};
  const real largest = std::numeric_limits<real>::max();
  auto one_block = [&](int64_t first, int count) {
    Ellipsoids g = load_ellipsoids(means, quats, scales, first, count);
    for (int64_t c = 0; c < cameras; c++) {
      Camera camera = make_camera(views + 16 * c, intrinsics + 9 * c, width, height);
      Footprint f = project(g, camera, eps2d);
      Vec inverse_det = (real)1 / f.det;
      Mask valid = (f.point[2] >= near) & (f.point[2] <= far) & (f.det > fill(0)) & (f.det <= fill(largest));
      Vec mean2d[2] = {keep(valid, camera.fx * f.point[0] * f.inverse_z + camera.cx),
                       keep(valid, camera.fy * f.point[1] * f.inverse_z + camera.cy)};
      Vec factor[3] = {keep(valid, square_root(f.cov_yy * inverse_det)), keep(valid, f.cov_xy / f.cov_yy),
                       keep(valid, (real)1 / square_root(f.cov_yy))};
      Vec compensation = keep(valid, square_root(maximum(fill(0), f.det_sharp * inverse_det)));
      Vec sigma_x = square_root(f.cov_xx);
      Vec sigma_y = square_root(f.cov_yy);
      int64_t row = c * gaussians + first;
      store_rows<2>(means2d, row, count, mean2d);
      store_rows<3>(factors, row, count, factor);
      store_rows<1>(depths, row, count, &f.point[2]);
      if (compensations) store_rows<1>(compensations, row, count, &compensation);
      for (int lane = 0; lane < count; lane++) {
        real opacity = valid[lane] ? opacities[first + lane] : (real)0;
        if (compensations) opacity *= compensation[lane];
        bounding_radii(mean2d[0][lane], mean2d[1][lane], sigma_x[lane], sigma_y[lane], opacity, limits, radii + 2 * (row + lane));
      }
    }
  };
  run_shares(threads, (gaussians + LANES - 1) / LANES, [&](int64_t begin, int64_t end, int) {
    for (int64_t block = begin; block < end; block++) {
      one_block(block * LANES, (int)std::min<int64_t>(LANES, gaussians - block * LANES));
    }
  });
}

// Gradients of the rows a, b of J M by the factor of the inverse covariance. With s = det cov / cov_yy = root_x^-2,
//   ds     = dcov_xx - 2 shear dcov_xy + shear^2 dcov_yy
//   dshear = (dcov_xy - shear dcov_yy) / cov_yy
// and dcov_xx = 2 a . da, dcov_xy = a . db + b . da, dcov_yy = 2 b . db; terms are collected around r = a - shear b, which is
// small for needles.
INLINE void factor_gradient(const Footprint &f, const Vec *v_factor, Vec *v_a, Vec *v_b) {
  Vec shear = f.cov_xy / f.cov_yy;
  Vec root_y = (real)1 / square_root(f.cov_yy);
  Vec root_x = square_root(f.cov_yy / f.det);
  Vec v_s = (real)-0.5 * root_x * root_x * root_x * v_factor[0];
  Vec w = v_factor[1] / f.cov_yy;
  Vec v_yy = root_y * root_y * root_y * v_factor[2];
  for (int j = 0; j < 3; j++) {
    Vec r = f.a[j] - shear * f.b[j];
    v_a[j] = 2 * v_s * r + w * f.b[j];
    v_b[j] = -2 * shear * v_s * r + w * (r - shear * f.b[j]) - v_yy * f.b[j];
  }
}

// Adds the gradients by compensation = (det_sharp / det)^1/2; 1e-6 guards the square root as in gsplat.
INLINE void compensation_gradient(const Footprint &f, real eps2d, Vec compensation, Vec v_compensation, Vec *v_a, Vec *v_b) {
  Vec scale = v_compensation / ((compensation + (real)1e-6) * f.det);
  Vec squared = compensation * compensation;
  Vec sharp = scale * (1 - squared);    // gradient of det_sharp / 2, and d|n|^2 = 2 (b x n) . da + 2 (n x a) . db for n = a x b
  Vec blur = -scale * squared * eps2d;  // gradient of |a|^2 / 2 and |b|^2 / 2
  Vec by_a[3], by_b[3];
  cross_product(f.b, f.cross, by_a);
  cross_product(f.cross, f.a, by_b);
  for (int j = 0; j < 3; j++) {
    v_a[j] += sharp * by_a[j] + blur * f.a[j];
    v_b[j] += sharp * by_b[j] + blur * f.b[j];
  }
}

// Gradient of a normalised quaternion's rotation matrix, taken back through the normalisation.
INLINE void quaternion_gradient(const Ellipsoids &g, const Matrix &v_rotation, Vec *v_quat) {
  const Vec(&v)[3][3] = v_rotation.at;
  Vec w = g.w, x = g.x, y = g.y, z = g.z;
  v_quat[0] = 2 * (x * (v[2][1] - v[1][2]) + y * (v[0][2] - v[2][0]) + z * (v[1][0] - v[0][1]));
  v_quat[1] = 2 * (-2 * x * (v[1][1] + v[2][2]) + y * (v[1][0] + v[0][1]) + z * (v[2][0] + v[0][2]) + w * (v[2][1] - v[1][2]));
  v_quat[2] = 2 * (x * (v[1][0] + v[0][1]) - 2 * y * (v[0][0] + v[2][2]) + z * (v[2][1] + v[1][2]) + w * (v[0][2] - v[2][0]));
  v_quat[3] = 2 * (x * (v[2][0] + v[0][2]) + y * (v[2][1] + v[1][2]) - 2 * z * (v[0][0] + v[1][1]) + w * (v[1][0] - v[0][1]));
  Vec along = v_quat[0] * w + v_quat[1] * x + v_quat[2] * y + v_quat[3] * z;
  v_quat[0] = (v_quat[0] - along * w) * g.inverse_norm;
  v_quat[1] = (v_quat[1] - along * x) * g.inverse_norm;
  v_quat[2] = (v_quat[2] - along * y) * g.inverse_norm;
  v_quat[3] = (v_quat[3] - along * z) * g.inverse_norm;
}

// Gradient of the camera-space point: through the projected mean, the depth, and the Jacobian J (v_j**).
INLINE void point_gradient(const Footprint &f, const Camera &camera, const Vec *v_mean2d, Vec v_depth, Vec v_j00, Vec v_j02, Vec v_j11,
                           Vec v_j12, Vec *v_point) {
  Vec iz = f.inverse_z;
  Vec iz2 = iz * iz;
  Vec iz3 = iz2 * iz;
  real fx = camera.fx;
  real fy = camera.fy;
  Vec v_tx = -fx * iz2 * v_j02;
  Vec v_ty = -fy * iz2 * v_j12;
  Vec through_clamp = keep(~f.inside_x, v_tx * iz * f.tx) + keep(~f.inside_y, v_ty * iz * f.ty);
  v_point[0] = fx * iz * v_mean2d[0] + keep(f.inside_x, v_tx);
  v_point[1] = fy * iz * v_mean2d[1] + keep(f.inside_y, v_ty);
  v_point[2] = v_depth - (fx * f.point[0] * v_mean2d[0] + fy * f.point[1] * v_mean2d[1]) * iz2 + through_clamp;
  v_point[2] += 2 * fx * f.tx * iz3 * v_j02 + 2 * fy * f.ty * iz3 * v_j12 - fx * iz2 * v_j00 - fy * iz2 * v_j11;
}

struct ProjectionGradients {
  const real *means2d, *depths, *factors, *compensations;  // incoming; the last may be null
  real *means, *quats, *scales;                            // outgoing, added to
};

// One camera, LANES Gaussians. v_view: 12 sums over Gaussians of the gradient of [R_v | t], or null.
static void project_backward_block(const Ellipsoids &g, const Camera &camera, real eps2d, Mask visible, const real *compensations,
                                   const ProjectionGradients &v, int64_t first, int64_t row, int count, Vec *v_view) {
  Footprint f = project(g, camera, eps2d);
  Vec v_mean2d[2], v_factor[3], v_depth;
  load_rows<2>(v.means2d, row, count, v_mean2d);
  load_rows<3>(v.factors, row, count, v_factor);
  load_rows<1>(v.depths, row, count, &v_depth);
  Vec v_a[3], v_b[3];
  factor_gradient(f, v_factor, v_a, v_b);
  if (v.compensations) {
    Vec compensation, v_compensation;
    load_rows<1>(compensations, row, count, &compensation);
    load_rows<1>(v.compensations, row, count, &v_compensation);
    compensation_gradient(f, eps2d, compensation, v_compensation, v_a, v_b);
  }
  Vec v_j00 = {}, v_j02 = {}, v_j11 = {}, v_j12 = {};
  Matrix v_M;
  for (int j = 0; j < 3; j++) {
    v_j00 += v_a[j] * f.M.at[0][j];
    v_j02 += v_a[j] * f.M.at[2][j];
    v_j11 += v_b[j] * f.M.at[1][j];
    v_j12 += v_b[j] * f.M.at[2][j];
    v_M.at[0][j] = f.j00 * v_a[j];
    v_M.at[1][j] = f.j11 * v_b[j];
    v_M.at[2][j] = f.j02 * v_a[j] + f.j12 * v_b[j];
  }
  Vec v_point[3];
  point_gradient(f, camera, v_mean2d, v_depth, v_j00, v_j02, v_j11, v_j12, v_point);

  // point = R_v mean + t,  M = R_v R(q) S
  const auto &V = camera.view;
  const Vec(&R)[3][3] = g.rotation.at;
  Vec v_mean[3], v_scale[3], v_quat[4];
  Matrix v_rotation;
  for (int j = 0; j < 3; j++) {
    v_mean[j] = V[0][j] * v_point[0] + V[1][j] * v_point[1] + V[2][j] * v_point[2];
    v_scale[j] = fill(0);
    for (int i = 0; i < 3; i++) {
      Vec v_RS = V[0][i] * v_M.at[0][j] + V[1][i] * v_M.at[1][j] + V[2][i] * v_M.at[2][j];
      v_scale[j] += v_RS * R[i][j];
      v_rotation.at[i][j] = v_RS * g.scale[j];
    }
  }
  quaternion_gradient(g, v_rotation, v_quat);
  if (v_view) {
    for (int i = 0; i < 3; i++) {
      for (int j = 0; j < 3; j++) {
        Vec through_M = v_M.at[i][0] * g.scale[0] * R[j][0] + v_M.at[i][1] * g.scale[1] * R[j][1] + v_M.at[i][2] * g.scale[2] * R[j][2];
        v_view[4 * i + j] += keep(visible, v_point[i] * g.mean[j] + through_M);
      }
      v_view[4 * i + 3] += keep(visible, v_point[i]);
    }
  }
  for (int lane = 0; lane < count; lane++) {
    if (!visible[lane]) continue;
    for (int k = 0; k < 3; k++) v.means[(first + lane) * 3 + k] += v_mean[k][lane];
    for (int k = 0; k < 3; k++) v.scales[(first + lane) * 3 + k] += v_scale[k][lane];
    for (int k = 0; k < 4; k++) v.quats[(first + lane) * 4 + k] += v_quat[k][lane];
  }
}

// Adds to v_means, v_quats, v_scales, which the caller zeroes; writes the upper 3x4 of v_views [C, 4, 4] unless it is null.
// v_compensations may be null. Returns 0, or 1 when memory ran out.
EXPORT int splat_project_backward(int64_t cameras, int64_t gaussians, const real *means, const real *quats, const real *scales,
                                  const real *views, const real *intrinsics, int width, int height, real eps2d,
                                  const int32_t *radii, const real *compensations, const real *v_means2d, const real *v_depths,
                                  const real *v_factors, const real *v_compensations, real *v_means, real *v_quats,
                                  real *v_scales, real *v_views, int threads) try {
  ProjectionGradients v{v_means2d, v_depths, v_factors, v_compensations, v_means, v_quats, v_scales};
  int64_t chunks = chunks_of(gaussians);
  Buffer<double> partial(v_views ? chunks * cameras * 12 : 0);
  auto one_chunk = [&](int64_t chunk, int64_t c) {
    Camera camera = make_camera(views + 16 * c, intrinsics + 9 * c, width, height);
    Vec v_view[12] = {};
    int64_t end = std::min(gaussians, (chunk + 1) * CHUNK);
    for (int64_t first = chunk * CHUNK; first < end; first += LANES) {
      int count = (int)std::min<int64_t>(LANES, end - first);
      int64_t row = c * gaussians + first;
      Mask visible = load_visible(radii, row, count);
      if (!any(visible)) continue;
      Ellipsoids g = load_ellipsoids(means, quats, scales, first, count);
      project_backward_block(g, camera, eps2d, visible, compensations, v, first, row, count, v_views ? v_view : nullptr);
    }
    if (!v_views) return;
    for (int k = 0; k < 12; k++) partial[(chunk * cameras + c) * 12 + k] = sum(v_view[k]);
  };
  run_shares(threads, chunks, [&](int64_t begin, int64_t end, int) {
    for (int64_t chunk = begin; chunk < end; chunk++) {
      for (int64_t c = 0; c < cameras; c++) one_chunk(chunk, c);
    }
  });
  if (v_views) add_chunks(partial, chunks, cameras, 12, 16, v_views);
  return 0;
} catch (const std::bad_alloc &) {
  return 1;
}

// ---------------------------------------------------------------------------------------------------------------- spherical harmonics

constexpr int MAX_HARMONICS = 25;

// A value with its gradient by the direction (x, y, z): forward-mode differentiation of the basis below.
struct Dual {
  Vec value, dx, dy, dz;
};
INLINE Dual operator*(const Dual &a, const Dual &b) {
  return {a.value * b.value, a.dx * b.value + a.value * b.dx, a.dy * b.value + a.value * b.dy, a.dz * b.value + a.value * b.dz};
}
INLINE Dual operator+(const Dual &a, const Dual &b) { return {a.value + b.value, a.dx + b.dx, a.dy + b.dy, a.dz + b.dz}; }
INLINE Dual operator-(const Dual &a, const Dual &b) { return {a.value - b.value, a.dx - b.dx, a.dy - b.dy, a.dz - b.dz}; }
INLINE Dual operator*(real s, const Dual &a) { return {s * a.value, s * a.dx, s * a.dy, s * a.dz}; }
INLINE Dual operator+(const Dual &a, real s) { return {a.value + s, a.dx, a.dy, a.dz}; }
INLINE void set_constant(Vec &out, real s) { out = fill(s); }
INLINE void set_constant(Dual &out, real s) { out = {fill(s), fill(0), fill(0), fill(0)}; }

// Real spherical harmonics up to degree 4 of a unit vector by the recurrences of Sloan 2013, "Efficient Spherical Harmonic
// Evaluation": cos_m, sin_m are the real and imaginary part of (x + i y)^m.
template <class T>
INLINE void harmonics_basis(int degree, T x, T y, T z, T *out) {
  set_constant(out[0], (real)0.2820947917738781);
  if (degree < 1) return;
  const real n1 = (real)0.48860251190292;
  out[1] = -n1 * y;
  out[2] = n1 * z;
  out[3] = -n1 * x;
  if (degree < 2) return;
  T z2 = z * z;
  T cos2 = x * x - y * y;
  T sin2 = (real)2 * (x * y);
  T p21 = (real)-1.092548430592079 * z;
  T p20 = (real)0.9461746957575601 * z2 + (real)-0.3153915652525201;
  out[4] = (real)0.5462742152960395 * sin2;
  out[5] = p21 * y;
  out[6] = p20;
  out[7] = p21 * x;
  out[8] = (real)0.5462742152960395 * cos2;
  if (degree < 3) return;
  T cos3 = x * cos2 - y * sin2;
  T sin3 = x * sin2 + y * cos2;
  T p32 = (real)1.445305721320277 * z;
  T p31 = (real)-2.285228997322329 * z2 + (real)0.4570457994644658;
  T p30 = z * ((real)1.865881662950577 * z2 + (real)-1.119528997770346);
  const real n3 = (real)-0.5900435899266435;
  out[9] = n3 * sin3;
  out[10] = p32 * sin2;
  out[11] = p31 * y;
  out[12] = p30;
  out[13] = p31 * x;
  out[14] = p32 * cos2;
  out[15] = n3 * cos3;
  if (degree < 4) return;
  T cos4 = x * cos3 - y * sin3;
  T sin4 = x * sin3 + y * cos3;
  T p43 = (real)-1.770130769779931 * z;
  T p42 = (real)3.31161143515146 * z2 + (real)-0.47308734787878;
  T p41 = z * ((real)-4.683325804901025 * z2 + (real)2.007139630671868);
  const real n4 = (real)0.6258357354491763;
  out[16] = n4 * sin4;
  out[17] = p43 * sin3;
  out[18] = p42 * sin2;
  out[19] = p41 * y;
  out[20] = (real)1.984313483298443 * (z * p30) + (real)-1.006230589874905 * p20;
  out[21] = p41 * x;
  out[22] = p42 * cos2;
  out[23] = p43 * cos3;
  out[24] = n4 * cos4;
}

// Unit vectors from a camera centre to LANES means.
struct Directions {
  Vec x, y, z, inverse_length;
};

INLINE Directions load_directions(const real *means, const real *centre, int64_t first, int count) {
  Vec m[3];
  load_rows<3>(means, first, count, m);
  Directions d{m[0] - centre[0], m[1] - centre[1], m[2] - centre[2], {}};
  d.inverse_length = (real)1 / square_root(maximum(d.x * d.x + d.y * d.y + d.z * d.z, fill((real)1e-24)));
  d.x *= d.inverse_length;
  d.y *= d.inverse_length;
  d.z *= d.inverse_length;
  return d;
}

// means [N, 3], centres [C, 3], coefficients [N, K, 3], radii [C, N, 2] ->
// colours [C, N, 3] = max(0, 1/2 + sum_k basis_k coefficient_k), 0 for culled Gaussians.
EXPORT void splat_harmonics_forward(int64_t cameras, int64_t gaussians, int degree, int harmonics, const real *means,
                                    const real *centres, const real *coefficients, const int32_t *radii, real *colours,
                                    int threads) {
  const int used = (degree + 1) * (degree + 1);
  auto one_block = [&](int64_t first, int count, int64_t c) {
    Directions d = load_directions(means, centres + 3 * c, first, count);
    Vec basis[MAX_HARMONICS];
    harmonics_basis<Vec>(degree, d.x, d.y, d.z, basis);
    for (int lane = 0; lane < count; lane++) {
      int64_t row = c * gaussians + first + lane;
      real *colour = colours + 3 * row;
      if (!is_visible(radii, row)) {
        colour[0] = colour[1] = colour[2] = 0;
        continue;
      }
      const real *coefficient = coefficients + (first + lane) * harmonics * 3;
      real red = 0, green = 0, blue = 0;
      for (int k = 0; k < used; k++) {
        real b = basis[k][lane];
        red += b * coefficient[3 * k];
        green += b * coefficient[3 * k + 1];
        blue += b * coefficient[3 * k + 2];
      }
      colour[0] = std::max<real>(red + (real)0.5, 0);
      colour[1] = std::max<real>(green + (real)0.5, 0);
      colour[2] = std::max<real>(blue + (real)0.5, 0);
    }
  };
  run_shares(threads, (gaussians + LANES - 1) / LANES, [&](int64_t begin, int64_t end, int) {
    for (int64_t block = begin; block < end; block++) {
      int64_t first = block * LANES;
      for (int64_t c = 0; c < cameras; c++) one_block(first, (int)std::min<int64_t>(LANES, gaussians - first), c);
    }
  });
}

// Gradients of one camera and one Gaussian by its coefficients; `basis_dot` gets sum_channel coefficient * v_colour for each basis.
INLINE void coefficient_gradient(const Dual *basis, int lane, int used, int harmonics, const real *coefficient, const real *v_colour,
                                 bool overwrite, real *v_coefficient, Vec *basis_dot) {
  for (int k = 0; k < used; k++) {
    real b = basis[k].value[lane];
    real dot = 0;
    for (int channel = 0; channel < 3; channel++) {
      real v = b * v_colour[channel];
      v_coefficient[3 * k + channel] = overwrite ? v : v_coefficient[3 * k + channel] + v;
      dot += coefficient[3 * k + channel] * v_colour[channel];
    }
    basis_dot[k][lane] = dot;
  }
  if (overwrite) std::fill(v_coefficient + 3 * used, v_coefficient + 3 * harmonics, (real)0);
}

// Writes v_coefficients and v_centres [C, 3]; adds to v_means, which the caller zeroes. Returns 0, or 1 when memory ran out.
EXPORT int splat_harmonics_backward(int64_t cameras, int64_t gaussians, int degree, int harmonics, const real *means,
                                    const real *centres, const real *coefficients, const int32_t *radii, const real *colours,
                                    const real *v_colours, real *v_coefficients, real *v_means, real *v_centres, int threads) try {
  const int used = (degree + 1) * (degree + 1);
  int64_t chunks = chunks_of(gaussians);
  Buffer<double> partial(chunks * cameras * 3);
  auto one_block = [&](int64_t first, int count, int64_t c, double *v_centre) {
    Directions d = load_directions(means, centres + 3 * c, first, count);
    Vec one = fill(1), zero = {};
    Dual basis[MAX_HARMONICS];
    harmonics_basis<Dual>(degree, Dual{d.x, one, zero, zero}, Dual{d.y, zero, one, zero}, Dual{d.z, zero, zero, one}, basis);
    Vec basis_dot[MAX_HARMONICS] = {};
    for (int lane = 0; lane < count; lane++) {
      int64_t row = c * gaussians + first + lane;
      real *v_coefficient = v_coefficients + (first + lane) * harmonics * 3;
      if (!is_visible(radii, row)) {
        if (c == 0) std::fill(v_coefficient, v_coefficient + 3 * harmonics, (real)0);
        continue;
      }
      real v_colour[3];
      for (int channel = 0; channel < 3; channel++) v_colour[channel] = colours[3 * row + channel] > 0 ? v_colours[3 * row + channel] : 0;
      const real *coefficient = coefficients + (first + lane) * harmonics * 3;
      coefficient_gradient(basis, lane, used, harmonics, coefficient, v_colour, c == 0, v_coefficient, basis_dot);
    }
    Vec v[3] = {};
    for (int k = 1; k < used; k++) {
      v[0] += basis_dot[k] * basis[k].dx;
      v[1] += basis_dot[k] * basis[k].dy;
      v[2] += basis_dot[k] * basis[k].dz;
    }
    Vec along = v[0] * d.x + v[1] * d.y + v[2] * d.z;  // normalisation takes out the radial part
    v[0] = (v[0] - along * d.x) * d.inverse_length;
    v[1] = (v[1] - along * d.y) * d.inverse_length;
    v[2] = (v[2] - along * d.z) * d.inverse_length;
    for (int lane = 0; lane < count; lane++) {
      if (!is_visible(radii, c * gaussians + first + lane)) continue;
      for (int k = 0; k < 3; k++) v_means[3 * (first + lane) + k] += v[k][lane];
      for (int k = 0; k < 3; k++) v_centre[k] -= v[k][lane];
    }
  };
  run_shares(threads, chunks, [&](int64_t begin, int64_t end, int) {
    for (int64_t chunk = begin; chunk < end; chunk++) {
      int64_t stop = std::min(gaussians, (chunk + 1) * CHUNK);
      for (int64_t c = 0; c < cameras; c++) {
        double v_centre[3] = {};
        for (int64_t first = chunk * CHUNK; first < stop; first += LANES) {
          one_block(first, (int)std::min<int64_t>(LANES, stop - first), c, v_centre);
        }
        for (int k = 0; k < 3; k++) partial[(chunk * cameras + c) * 3 + k] = v_centre[k];
      }
    }
  });
  add_chunks(partial, chunks, cameras, 3, 3, v_centres);
  return 0;
} catch (const std::bad_alloc &) {
  return 1;
}

// ---------------------------------------------------------------------------------------------------------------- sorting and binning

constexpr int TILE = 32;
constexpr int BLOCK_W = 4;
constexpr int BLOCK_H = LANES / BLOCK_W;
constexpr int BLOCKS_X = TILE / BLOCK_W;
constexpr int BLOCKS_Y = TILE / BLOCK_H;
constexpr int BLOCKS = BLOCKS_X * BLOCKS_Y;
constexpr int WORDS = BLOCKS / 64;
static_assert(BLOCKS_X == 8 && BLOCKS % 64 == 0, "eight rows of blocks are one 64-bit mask");

constexpr real LOG2E = (real)1.4426950408889634074;

// One visible Gaussian of one camera as the compositing reads it: a single cache line. Powers are of two:
// alpha = opacity * 2^-((root_x t)^2 + (root_y dy)^2), and alpha >= 1/255 exactly where that power reaches `threshold`.
struct alignas(64) Record {
  real x, y;                   // projected mean, px
  real root_x, shear, root_y;  // factor of the inverse covariance, the roots times (log2(e) / 2)^1/2
  real opacity;
  real threshold;              // -log2(255 opacity)
  uint16_t left, right;        // pixels whose centres lie in the box around {alpha >= 1/255}, inclusive
  uint16_t top, bottom;
  uint16_t x0, x1, y0, y1;     // tiles of those pixels, half open; none if the box holds no pixel centre
  int32_t row;                 // camera * N + index
  int32_t tile0;               // number of the camera's first tile
  uint64_t hit;                // which of its first 64 tiles the ellipse touches
};

// The tiles of all cameras, numbered camera by camera, and for each its Gaussians from front to back.
struct Plan {
  int64_t cameras, gaussians;
  int width, height, tiles_x, tiles_y;
  int64_t visible = 0;      // records
  Buffer<int32_t> rows;     // [visible] camera * N + index, by camera, then by depth
  Buffer<Record> records;   // [visible] in that order
  Buffer<int64_t> offsets;  // [tiles + 1] where a tile's ranks begin
  Buffer<int32_t> ranks;    // [offsets[tiles]] positions in `records`

  int64_t tiles() const { return cameras * tiles_x * tiles_y; }
};

// Writes the rows of one camera's visible Gaussians by (float32 depth, index): radix sort, three digits of 11 bits. Depths are
// positive, so their bits sort like the numbers. Returns how many. `scratch` holds 3 N numbers.
static int64_t sort_by_depth(const real *depths, const int32_t *radii, int64_t gaussians, int64_t first_row, int32_t *rows,
                             uint32_t *scratch) {
  uint32_t *from_key = scratch, *to_key = scratch + gaussians;
  int32_t *from_row = rows, *to_row = (int32_t *)scratch + 2 * gaussians;
  int64_t count = 0;
  for (int64_t i = 0; i < gaussians; i++) {
    if (!is_visible(radii, i)) continue;
    float depth = (float)depths[i];
    std::memcpy(&from_key[count], &depth, 4);
    rows[count++] = (int32_t)(first_row + i);
  }
  uint32_t histogram[3][2048] = {};
  for (int64_t i = 0; i < count; i++) {
    uint32_t key = from_key[i];
    histogram[0][key & 2047]++;
    histogram[1][key >> 11 & 2047]++;
    histogram[2][key >> 22]++;
  }
  for (int digit = 0; digit < 3; digit++) {
    uint32_t position = 0;
    for (uint32_t &bucket : histogram[digit]) position += std::exchange(bucket, position);
    for (int64_t i = 0; i < count; i++) {
      uint32_t to = histogram[digit][from_key[i] >> (11 * digit) & 2047]++;
      to_key[to] = from_key[i];
      to_row[to] = from_row[i];
    }
    std::swap(from_key, to_key);
    std::swap(from_row, to_row);
  }
  std::memcpy(rows, from_row, count * sizeof(int32_t));  // after three swaps the result lies in the other buffer
  return count;
}

INLINE int floor_to_int(real x) {
  int i = (int)x;
  return i - ((real)i > x);
}
INLINE int ceil_to_int(real x) {
  int i = (int)x;
  return i + ((real)i < x);
}

// Sets the pixels and tiles within the half sizes `extent_x`, `extent_y` of the mean.
INLINE void set_ranges(Record &g, real extent_x, real extent_y, int width, int height) {
  auto clamp = [](real v, int size) { return std::min<real>(std::max<real>(v, -1), size); };
  int left = std::max(0, ceil_to_int(clamp(g.x - extent_x - (real)0.5, width)));
  int right = std::min(width - 1, floor_to_int(clamp(g.x + extent_x - (real)0.5, width)));
  int top = std::max(0, ceil_to_int(clamp(g.y - extent_y - (real)0.5, height)));
  int bottom = std::min(height - 1, floor_to_int(clamp(g.y + extent_y - (real)0.5, height)));
  bool empty = left > right || top > bottom;
  g.left = (uint16_t)left;
  g.right = (uint16_t)right;
  g.top = (uint16_t)top;
  g.bottom = (uint16_t)bottom;
  g.x0 = (uint16_t)(empty ? 0 : left / TILE);
  g.x1 = (uint16_t)(empty ? 0 : right / TILE + 1);
  g.y0 = (uint16_t)(empty ? 0 : top / TILE);
  g.y1 = (uint16_t)(empty ? 0 : bottom / TILE + 1);
}

// Does the Gaussian reach 1/255 anywhere on the rectangle of the tile's pixel centres? Its power is concave, so the largest
// value outside the mean lies on an edge that faces the mean.
INLINE bool reaches_tile(const Record &g, int tile_x, int tile_y) {
  real x0 = tile_x * TILE + (real)0.5 - g.x;
  real y0 = tile_y * TILE + (real)0.5 - g.y;
  real x1 = x0 + (TILE - 1);
  real y1 = y0 + (TILE - 1);
  bool inside_x = x0 <= 0 && x1 >= 0;
  bool inside_y = y0 <= 0 && y1 >= 0;
  if (inside_x && inside_y) return true;
  real best = -std::numeric_limits<real>::max();
  auto power = [&](real x, real y) {
    real u = g.root_x * (x - g.shear * y);
    real v = g.root_y * y;
    return -(u * u + v * v);
  };
  if (!inside_x) {
    real x = x0 > 0 ? x0 : x1;
    real sheared = g.root_x * g.root_x * g.shear;
    real slope = sheared / (sheared * g.shear + g.root_y * g.root_y);
    best = std::max(best, power(x, std::min(std::max(slope * x, y0), y1)));
  }
  if (!inside_y) {
    real y = y0 > 0 ? y0 : y1;
    best = std::max(best, power(std::min(std::max(g.shear * y, x0), x1), y));
  }
  return best >= g.threshold * (real)1.0005 - (real)1e-3;
}

// Not inlined: counting and filling must decide alike to the last bit, so they run the same instructions.
static __attribute__((noinline)) bool large_reaches_tile(const Record &g, int tile_x, int tile_y) {
  return reaches_tile(g, tile_x, tile_y);
}

// Calls body(tile) for each tile that the Gaussian reaches.
template <class Body>
INLINE void for_each_tile(const Record &g, int tiles_x, Body body) {
  bool large = (g.x1 - g.x0) * (g.y1 - g.y0) > 64;
  int k = 0;
  for (int y = g.y0; y < g.y1; y++) {
    for (int x = g.x0; x < g.x1; x++, k++) {
      bool hit = large ? large_reaches_tile(g, x, y) : (g.hit >> (k & 63) & 1) != 0;
      if (hit) body(g.tile0 + y * tiles_x + x);
    }
  }
}

// Tests the tiles of a Gaussian of middle size; one or two tiles are not worth a test, more than 64 are tested when needed.
INLINE uint64_t tiles_hit(const Record &g) {
  int area = (g.x1 - g.x0) * (g.y1 - g.y0);
  if (area <= 2 || area > 64) return ~(uint64_t)0;
  uint64_t hit = 0;
  int k = 0;
  for (int y = g.y0; y < g.y1; y++) {
    for (int x = g.x0; x < g.x1; x++, k++) hit |= (uint64_t)reaches_tile(g, x, y) << k;
  }
  return hit;
}

// What the plan reads of the projected Gaussians.
struct Projected {
  const real *means2d, *factors, *opacities;  // [C, N, 2], [C, N, 3], [C, N]
};

// Fills records [begin, end), LANES at a time.
static void make_records(Plan &plan, const Projected &in, int64_t begin, int64_t end) {
  for (int64_t first = begin; first < end; first += LANES) {
    int count = (int)std::min<int64_t>(LANES, end - first);
    Vec x, y, root_x, shear, root_y, opacity;
    for (int lane = 0; lane < LANES; lane++) {
      int64_t ahead = plan.rows[std::min(first + lane + 2 * LANES, end - 1)];
      __builtin_prefetch(&in.means2d[2 * ahead]);
      __builtin_prefetch(&in.factors[3 * ahead]);
      __builtin_prefetch(&in.opacities[ahead]);
      int64_t row = plan.rows[first + std::min(lane, count - 1)];
      x[lane] = in.means2d[2 * row];
      y[lane] = in.means2d[2 * row + 1];
      root_x[lane] = in.factors[3 * row];
      shear[lane] = in.factors[3 * row + 1];
      root_y[lane] = in.factors[3 * row + 2];
      opacity[lane] = in.opacities[row];
    }
    // {alpha >= 1/255} is {2 sigma <= 2 ln(255 opacity)}; its half sizes are the root of that times cov_xx, cov_yy, where
    // cov_yy = root_y^-2 and cov_xx = root_x^-2 + shear^2 cov_yy.
    Vec log_ratio = log_fast(maximum(opacity, fill((real)1e-30)) * (real)255);
    Vec level = (real)2.001 * maximum(log_ratio, fill(0)) + (real)1e-3;
    Vec cov_yy = (real)1 / (root_y * root_y);
    Vec cov_xx = (real)1 / (root_x * root_x) + shear * shear * cov_yy;
    Vec extent_x = square_root(level * cov_xx) * (real)1.0005 + (real)1e-3;
    Vec extent_y = square_root(level * cov_yy) * (real)1.0005 + (real)1e-3;
    const real root_half_log2e = (real)0.84932180028801904272;
    for (int lane = 0; lane < count; lane++) {
      Record g;
      g.x = x[lane];
      g.y = y[lane];
      g.root_x = root_half_log2e * root_x[lane];
      g.shear = shear[lane];
      g.root_y = root_half_log2e * root_y[lane];
      g.opacity = opacity[lane];
      g.threshold = -log_ratio[lane] * LOG2E;
      g.row = plan.rows[first + lane];
      g.tile0 = (int32_t)(g.row / plan.gaussians) * plan.tiles_x * plan.tiles_y;
      set_ranges(g, extent_x[lane], extent_y[lane], plan.width, plan.height);
      g.hit = tiles_hit(g);
      plan.records[first + lane] = g;
    }
  }
}

// Counting sort of (tile, rank): every thread counts its share, prefix sums give each (tile, thread) its place, every thread
// fills. Ranks stay ordered within a tile whatever the number of threads.
static void bin_records(Plan &plan, const Projected &in, int threads) {
  int64_t tiles = plan.tiles();
  Buffer<int64_t> counts(tiles * threads);
  std::fill(counts.data, counts.data + tiles * threads, (int64_t)0);
  run_shares(threads, plan.visible, [&](int64_t begin, int64_t end, int thread) {
    int64_t *count = counts.data + thread * tiles;
    make_records(plan, in, begin, end);
    for (int64_t rank = begin; rank < end; rank++) for_each_tile(plan.records[rank], plan.tiles_x, [&](int64_t tile) { count[tile]++; });
  });
  plan.offsets.resize(tiles + 1);
  int64_t total = 0;
  for (int64_t tile = 0; tile < tiles; tile++) {
    plan.offsets[tile] = total;
    for (int thread = 0; thread < threads; thread++) total += std::exchange(counts[thread * tiles + tile], total);
  }
  plan.offsets[tiles] = total;
  plan.ranks.resize(total);
  run_shares(threads, plan.visible, [&](int64_t begin, int64_t end, int thread) {
    int64_t *next = counts.data + thread * tiles;
    for (int64_t rank = begin; rank < end; rank++) {
      for_each_tile(plan.records[rank], plan.tiles_x, [&](int64_t tile) { plan.ranks[next[tile]++] = (int32_t)rank; });
    }
  });
}

// depths [C, N], radii [C, N, 2], means2d [C, N, 2], factors [C, N, 3], opacities [C, N]. Returns a plan, or null when memory ran
// out; free it with splat_plan_free. C N must be below 2^31.
EXPORT Plan *splat_plan(int64_t cameras, int64_t gaussians, const real *depths, const int32_t *radii, const real *means2d,
                        const real *factors, const real *opacities, int width, int height, int threads) try {
  Plan *plan = new Plan;
  struct Guard {
    Plan *plan;
    ~Guard() { delete plan; }
  } guard{plan};
  plan->cameras = cameras;
  plan->gaussians = gaussians;
  plan->width = width;
  plan->height = height;
  plan->tiles_x = (width + TILE - 1) / TILE;
  plan->tiles_y = (height + TILE - 1) / TILE;
  plan->rows.resize(cameras * gaussians);
  Buffer<int64_t> counts(cameras);
  Buffer<uint32_t> scratch(cameras * gaussians * 3);
  run_queue(std::min<int64_t>(threads, cameras), cameras, [&](int64_t c) {
    int64_t first = c * gaussians;
    counts[c] = sort_by_depth(depths + first, radii + 2 * first, gaussians, first, plan->rows.data + first, scratch.data + 3 * first);
  });
  for (int64_t c = 0; c < cameras; c++) {
    std::memmove(plan->rows.data + plan->visible, plan->rows.data + c * gaussians, counts[c] * sizeof(int32_t));
    plan->visible += counts[c];
  }
  plan->records.resize(plan->visible);
  bin_records(*plan, Projected{means2d, factors, opacities}, threads);
  return std::exchange(guard.plan, nullptr);
} catch (const std::bad_alloc &) {
  return nullptr;
}

EXPORT void splat_plan_free(Plan *plan) { delete plan; }

// ---------------------------------------------------------------------------------------------------------------- compositing forward

constexpr int PREFETCH = 6;  // records ahead

template <int CHANNELS>
struct Colour {
  real at[CHANNELS];
};

// Colours in the order of the records.
template <int CHANNELS>
static void sort_colours(const Plan &plan, const real *colours, Buffer<Colour<CHANNELS>> &out, int threads) {
  run_shares(threads, plan.visible, [&](int64_t begin, int64_t end, int) {
    for (int64_t rank = begin; rank < end; rank++) {
      for (int k = 0; k < CHANNELS; k++) out[rank].at[k] = colours[(int64_t)plan.rows[rank] * CHANNELS + k];
    }
  });
}

// Where a tile lies, and the pixel centres of its blocks.
struct Tile {
  int64_t number, camera;
  int x, y;  // in tiles
  Vec pixel_x[BLOCKS_X], pixel_y[BLOCKS_Y];

  Tile(const Plan &plan, int64_t tile) : number(tile) {
    int64_t tiles = (int64_t)plan.tiles_x * plan.tiles_y;
    camera = tile / tiles;
    x = (int)(tile % tiles % plan.tiles_x);
    y = (int)(tile % tiles / plan.tiles_x);
    for (int lane = 0; lane < LANES; lane++) {
      for (int bx = 0; bx < BLOCKS_X; bx++) pixel_x[bx][lane] = (real)(x * TILE + bx * BLOCK_W + lane % BLOCK_W) + (real)0.5;
      for (int by = 0; by < BLOCKS_Y; by++) pixel_y[by][lane] = (real)(y * TILE + by * BLOCK_H + lane / BLOCK_W) + (real)0.5;
    }
  }

  // Calls body(block, lane, pixel) for every pixel of the tile inside the image.
  template <class Body>
  void for_each_pixel(const Plan &plan, Body body) const {
    for (int block = 0; block < BLOCKS; block++) {
      for (int lane = 0; lane < LANES; lane++) {
        int pixel_x = x * TILE + block % BLOCKS_X * BLOCK_W + lane % BLOCK_W;
        int pixel_y = y * TILE + block / BLOCKS_X * BLOCK_H + lane / BLOCK_W;
        if (pixel_x >= plan.width || pixel_y >= plan.height) continue;
        body(block, lane, (camera * plan.height + pixel_y) * plan.width + pixel_x);
      }
    }
  }
};

// A bit for each block of a tile.
struct BlockSet {
  uint64_t words[WORDS] = {};

  INLINE_MEMBER void add(int block) { words[block / 64] |= (uint64_t)1 << (block % 64); }
  INLINE_MEMBER void remove(int block) { words[block / 64] &= ~((uint64_t)1 << (block % 64)); }
  INLINE_MEMBER bool empty() const {
    uint64_t all = 0;
    for (uint64_t word : words) all |= word;
    return all == 0;
  }
};

// Transmittance of a tile's pixels. A pixel is open while T > 0; a closed one keeps its transmittance as -T, and pixels outside
// the image start closed. `open` are the blocks with an open pixel.
struct Transmittance {
  alignas(64) Vec at[BLOCKS];
  BlockSet open;

  Transmittance(const Plan &plan, const Tile &tile) {
    for (int block = 0; block < BLOCKS; block++) {
      Mask inside = (tile.pixel_x[block % BLOCKS_X] < (real)plan.width) & (tile.pixel_y[block / BLOCKS_X] < (real)plan.height);
      at[block] = inside ? fill(1) : fill(-1);
      if (any(inside)) open.add(block);
    }
  }

  // Lets `alpha` absorb light in the lanes of `reached`. Returns the lanes that were drawn into and their weight alpha T.
  INLINE_MEMBER Mask absorb(int block, Vec alpha, Mask reached, Vec &weight) {
    Vec before = at[block];
    Vec absorbed = alpha * before;
    Vec after = before - absorbed;
    Mask stays_open = after > TRANSMITTANCE_MIN;
    Mask drawn = reached & stays_open;
    Mask closes = reached & ~stays_open & (before > fill(0));
    Vec now = drawn ? after : before;
    if (__builtin_expect(any(closes), 0)) {
      now = closes ? -before : now;
      if (!any(now > fill(0))) open.remove(block);
    }
    at[block] = now;
    weight = keep(drawn, absorbed);
    return drawn;
  }
};

// Blocks of word `word` of the tile that hold a pixel of the Gaussian's box.
INLINE uint64_t boxed_blocks(const Record &g, const Tile &tile, int word) {
  auto block = [](int pixel, int size) { return (int)((unsigned)std::min(std::max(pixel, 0), TILE - 1) / (unsigned)size); };
  int x0 = block(g.left - tile.x * TILE, BLOCK_W);
  int x1 = block(g.right - tile.x * TILE, BLOCK_W);
  int y0 = std::max(block(g.top - tile.y * TILE, BLOCK_H) - 8 * word, 0);
  int y1 = std::min(block(g.bottom - tile.y * TILE, BLOCK_H) - 8 * word, 7);
  if (WORDS > 1 && y0 > y1) return 0;
  uint64_t columns = (((uint64_t)2 << (x1 - x0)) - 1) << x0;
  uint64_t rows = (~(uint64_t)0 >> (56 - 8 * (y1 - y0))) << (8 * y0);
  return columns * 0x0101010101010101u & rows;
}

// Walks the open blocks of the Gaussian's box: body(block, t, dy, power, reached), where t = dx - shear dy, dx and dy are the
// distances from the mean, and `reached` are the lanes with alpha >= 1/255.
template <class Body>
INLINE void for_each_block(const Record &g, const Tile &tile, const Transmittance &light, Body body) {
  for (int word = 0; word < WORDS; word++) {
    for (uint64_t todo = light.open.words[word] & boxed_blocks(g, tile, word); todo != 0; todo &= todo - 1) {
      int block = 64 * word + __builtin_ctzll(todo);
      Vec dy = tile.pixel_y[block / BLOCKS_X] - g.y;
      Vec t = tile.pixel_x[block % BLOCKS_X] - g.x - g.shear * dy;
      Vec u = g.root_x * t;
      Vec v = g.root_y * dy;
      Vec power = maximum(-(u * u) - v * v, fill(-30));  // keeps exp2_fast in range
      body(block, t, dy, power, power >= g.threshold);
    }
  }
}

// One tile: T and the channels live in block order until the tile is written.
template <int CHANNELS>
static void composite_tile(const Plan &plan, const Buffer<Colour<CHANNELS>> &colours, const Tile &tile, const real *background,
                           real *image, real *alpha_image) {
  Transmittance light(plan, tile);
  alignas(64) Vec sums[CHANNELS][BLOCKS];
  std::memset(sums, 0, sizeof sums);
  int64_t end = plan.offsets[tile.number + 1];
  for (int64_t p = plan.offsets[tile.number]; p < end && !light.open.empty(); p++) {
    int32_t ahead = plan.ranks[std::min(p + PREFETCH, end - 1)];
    __builtin_prefetch(&plan.records[ahead]);
    __builtin_prefetch(&colours[ahead]);
    const Record &g = plan.records[plan.ranks[p]];
    const real *colour = colours[plan.ranks[p]].at;
    for_each_block(g, tile, light, [&](int block, Vec, Vec, Vec power, Mask reached) __attribute__((always_inline)) {
      // No test whether any lane is reached: the branch costs more than the few empty blocks.
      Vec alpha = minimum(g.opacity * exp2_fast(power), fill(ALPHA_MAX));
      Vec weight;
      light.absorb(block, alpha, reached, weight);
      for (int k = 0; k < CHANNELS; k++) sums[k][block] += weight * colour[k];
    });
  }
  const real *behind = background ? background + tile.camera * CHANNELS : nullptr;
  tile.for_each_pixel(plan, [&](int block, int lane, int64_t pixel) {
    real rest = std::abs(light.at[block][lane]);
    alpha_image[pixel] = 1 - rest;
    for (int k = 0; k < CHANNELS; k++) image[pixel * CHANNELS + k] = sums[k][block][lane] + (behind ? rest * behind[k] : (real)0);
  });
}

template <int CHANNELS>
static void composite_forward(const Plan &plan, const real *colours, const real *background, real *image, real *alpha, int threads) {
  Buffer<Colour<CHANNELS>> sorted(plan.visible);
  sort_colours<CHANNELS>(plan, colours, sorted, threads);
  run_queue(threads, plan.tiles(), [&](int64_t number) {
    Tile tile(plan, number);
    composite_tile<CHANNELS>(plan, sorted, tile, background, image, alpha);
  });
}

// ---------------------------------------------------------------------------------------------------------------- compositing backward

// Per pixel, with G = dL/dimage and R the radiance still to come behind the Gaussian (background included), weighted by G:
//   dL/dcolour = sum alpha T G
//   dL/dalpha  = T (colour . G) - R / (1 - alpha)
//   dL/dsigma  = -alpha dL/dalpha =: q          (0 where alpha was cut to 0.999)
// With t and d_y as above, every other gradient follows from moments of q:
//   dL/dmean_x = -root_x^2 sum q t              dL/droot_x = root_x sum q t^2         dL/dopacity = -sum q / opacity
//   dL/dmean_y = shear root_x^2 sum q t         dL/dshear  = -root_x^2 sum q t d_y
//                - root_y^2 sum q d_y           dL/droot_y = root_y sum q d_y^2
// The walk is front to back like the forward, so T is the same to the last bit; R starts at image . G and is used up.

struct CompositeGradients {
  const real *factors, *opacities;                        // [C, N, 3], [C, N]: forward input
  const real *image, *alpha, *v_image, *v_alpha;          // forward output and its gradients; v_alpha may be null
  real *v_means2d, *v_factors, *v_colours, *v_opacities;  // added to, zeroed by the caller
  real *v_means2d_abs;                                    // sums of absolute values over pixels (gsplat's absgrad), or null
};

// Sums of one Gaussian over the pixels of one tile.
template <int CHANNELS>
struct Moments {
  Vec q, t, y, tt, ty, yy, colour[CHANNELS], abs_x, abs_y;

  void store(real *slot, bool with_abs) const {
    const Vec *sums[6] = {&q, &t, &y, &tt, &ty, &yy};
    for (int k = 0; k < 6; k++) slot[k] = sum(*sums[k]);
    for (int k = 0; k < CHANNELS; k++) slot[6 + k] = sum(colour[k]);
    if (with_abs) slot[6 + CHANNELS] = sum(abs_x);
    if (with_abs) slot[7 + CHANNELS] = sum(abs_y);
  }
};

// Rows of tiles, counted over all cameras, whose slots fit into memory together.
struct Band {
  int64_t begin, end;     // tile rows, half open
  int64_t first, last;    // records, half open
  Buffer<int64_t> slots;  // [last - first + 1] where the slots of a record begin
  Buffer<real> sums;      // [slots, width]
  int width;              // numbers in a slot

  // Tile rows of a record inside the band.
  static std::pair<int64_t, int64_t> rows_of(const Record &g, const Plan &plan, int64_t begin, int64_t end) {
    int64_t camera_row = g.tile0 / plan.tiles_x;
    return {std::max(begin, camera_row + g.y0), std::min(end, camera_row + g.y1)};
  }
  // Where the sums of a record over one tile go.
  real *slot(const Plan &plan, const Record &g, int64_t rank, const Tile &tile) {
    int64_t row = tile.camera * plan.tiles_y + tile.y;
    int64_t top = std::max<int64_t>(begin, tile.camera * plan.tiles_y + g.y0);
    return sums.data + (slots[rank - first] + (row - top) * (g.x1 - g.x0) + (tile.x - g.x0)) * width;
  }
};

template <int CHANNELS>
static void backward_tile(const Plan &plan, const Buffer<Colour<CHANNELS>> &colours, const Tile &tile, const CompositeGradients &v,
                          Band &band) {
  const bool with_abs = v.v_means2d_abs != nullptr;
  Transmittance light(plan, tile);
  alignas(64) Vec remaining[BLOCKS], v_pixel[CHANNELS][BLOCKS];
  std::memset(remaining, 0, sizeof remaining);
  std::memset(v_pixel, 0, sizeof v_pixel);
  tile.for_each_pixel(plan, [&](int block, int lane, int64_t pixel) {
    real total = v.v_alpha ? -(1 - v.alpha[pixel]) * v.v_alpha[pixel] : (real)0;
    for (int k = 0; k < CHANNELS; k++) {
      v_pixel[k][block][lane] = v.v_image[pixel * CHANNELS + k];
      total += v.image[pixel * CHANNELS + k] * v.v_image[pixel * CHANNELS + k];
    }
    remaining[block][lane] = total;
  });
  int64_t end = plan.offsets[tile.number + 1];
  for (int64_t p = plan.offsets[tile.number]; p < end && !light.open.empty(); p++) {
    int32_t ahead = plan.ranks[std::min(p + PREFETCH, end - 1)];
    __builtin_prefetch(&plan.records[ahead]);
    __builtin_prefetch(&colours[ahead]);
    int32_t rank = plan.ranks[p];
    const Record &g = plan.records[rank];
    const real *colour = colours[rank].at;
    Moments<CHANNELS> sums = {};
    bool touched = false;
    for_each_block(g, tile, light, [&](int block, Vec t, Vec dy, Vec power, Mask reached) __attribute__((always_inline)) {
      if (!any(reached)) return;
      touched = true;
      Vec uncut = g.opacity * exp2_fast(power);
      Vec alpha = minimum(uncut, fill(ALPHA_MAX));
      Vec before = light.at[block];
      Vec weight;
      Mask drawn = light.absorb(block, alpha, reached, weight);
      Vec shade = {};
      for (int k = 0; k < CHANNELS; k++) {
        shade += v_pixel[k][block] * colour[k];
        sums.colour[k] += weight * v_pixel[k][block];
      }
      Vec behind = remaining[block] - weight * shade;
      remaining[block] = behind;
      Vec v_alpha = before * shade - behind / (1 - alpha);
      Vec q = keep(drawn & (uncut <= fill(ALPHA_MAX)), -alpha * v_alpha);
      Vec qt = q * t;
      Vec qy = q * dy;
      sums.q += q;
      sums.t += qt;
      sums.y += qy;
      sums.tt += qt * t;
      sums.ty += qt * dy;
      sums.yy += qy * dy;
      if (with_abs) {
        Vec by_x = g.root_x * g.root_x * qt;
        sums.abs_x += absolute(by_x);
        sums.abs_y += absolute(g.shear * by_x - g.root_y * g.root_y * qy);
      }
    });
    if (touched) sums.store(band.slot(plan, g, rank, tile), with_abs);
  }
}

// Adds the slots of each record of the band in the order of its tiles.
template <int CHANNELS>
static void gather(const Plan &plan, const CompositeGradients &v, const Band &band, int threads) {
  const real two_ln2 = (real)1.3862943611198906188;
  run_shares(threads, band.last - band.first, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++) {
      real total[6 + CHANNELS + 2] = {};
      for (int64_t slot = band.slots[i]; slot < band.slots[i + 1]; slot++) {
        for (int k = 0; k < band.width; k++) total[k] += band.sums[slot * band.width + k];
      }
      int64_t row = plan.rows[band.first + i];
      real root_x = v.factors[3 * row];
      real shear = v.factors[3 * row + 1];
      real root_y = v.factors[3 * row + 2];
      real by_t = root_x * root_x * total[1];
      v.v_opacities[row] -= total[0] / v.opacities[row];
      v.v_means2d[2 * row] -= by_t;
      v.v_means2d[2 * row + 1] += shear * by_t - root_y * root_y * total[2];
      v.v_factors[3 * row] += root_x * total[3];
      v.v_factors[3 * row + 1] -= root_x * root_x * total[4];
      v.v_factors[3 * row + 2] += root_y * total[5];
      for (int k = 0; k < CHANNELS; k++) v.v_colours[row * CHANNELS + k] += total[6 + k];
      if (v.v_means2d_abs) {  // the record's squared roots carry a factor log2(e) / 2
        v.v_means2d_abs[2 * row] += total[6 + CHANNELS] * two_ln2;
        v.v_means2d_abs[2 * row + 1] += total[7 + CHANNELS] * two_ln2;
      }
    }
  });
}

// Slots that the records need in each row of tiles.
static void count_slots(const Plan &plan, Buffer<int64_t> &per_row) {
  int64_t rows = plan.cameras * plan.tiles_y;
  std::fill(per_row.data, per_row.data + rows, (int64_t)0);
  for (int64_t rank = 0; rank < plan.visible; rank++) {
    const Record &g = plan.records[rank];
    int64_t camera_row = g.tile0 / plan.tiles_x;
    for (int y = g.y0; y < g.y1; y++) per_row[camera_row + y] += g.x1 - g.x0;
  }
}

// Lays out and clears the slots of the tile rows [begin, end).
static void open_band(const Plan &plan, int64_t begin, int64_t end, int width, Band &band, int threads) {
  auto before = [&](const Record &g, int64_t camera) { return g.tile0 < camera * plan.tiles_x * plan.tiles_y; };
  const Record *records = plan.records.data;
  band.begin = begin;
  band.end = end;
  band.width = width;
  band.first = std::lower_bound(records, records + plan.visible, begin / plan.tiles_y, before) - records;
  band.last = std::lower_bound(records, records + plan.visible, (end - 1) / plan.tiles_y + 1, before) - records;
  band.slots.resize(band.last - band.first + 1);
  int64_t total = 0;
  for (int64_t rank = band.first; rank < band.last; rank++) {
    band.slots[rank - band.first] = total;
    auto [top, bottom] = Band::rows_of(records[rank], plan, begin, end);
    total += std::max<int64_t>(0, bottom - top) * (records[rank].x1 - records[rank].x0);
  }
  band.slots[band.last - band.first] = total;
  band.sums.resize(total * width);
  run_shares(threads, total, [&](int64_t from, int64_t to, int) {
    std::memset(band.sums.data + from * width, 0, (to - from) * width * sizeof(real));
  });
}

template <int CHANNELS>
static void composite_backward(const Plan &plan, const real *colours, const CompositeGradients &v, int64_t slot_bytes, int threads) {
  Buffer<Colour<CHANNELS>> sorted(plan.visible);
  sort_colours<CHANNELS>(plan, colours, sorted, threads);
  const int width = 6 + CHANNELS + (v.v_means2d_abs ? 2 : 0);
  const int64_t rows = plan.cameras * plan.tiles_y;
  const int64_t limit = slot_bytes / (int64_t)(width * sizeof(real));
  Buffer<int64_t> per_row(rows);
  count_slots(plan, per_row);
  for (int64_t begin = 0, end; begin < rows; begin = end) {
    int64_t slots = per_row[begin];
    for (end = begin + 1; end < rows && slots + per_row[end] <= limit; end++) slots += per_row[end];
    Band band;
    open_band(plan, begin, end, width, band, threads);
    run_queue(threads, (end - begin) * plan.tiles_x, [&](int64_t item) {
      Tile tile(plan, begin * plan.tiles_x + item);
      backward_tile<CHANNELS>(plan, sorted, tile, v, band);
    });
    gather<CHANNELS>(plan, v, band, threads);
  }
}

// ---------------------------------------------------------------------------------------------------------------- compositing interface

// Calls body(std::integral_constant<int, channels>) for the channel counts that are compiled; false for any other.
template <class Body>
static bool with_channels(int channels, Body body) {
  switch (channels) {
    case 1: body(std::integral_constant<int, 1>()); return true;
    case 2: body(std::integral_constant<int, 2>()); return true;
    case 3: body(std::integral_constant<int, 3>()); return true;
    case 4: body(std::integral_constant<int, 4>()); return true;
    case 8: body(std::integral_constant<int, 8>()); return true;
    case 16: body(std::integral_constant<int, 16>()); return true;
    case 32: body(std::integral_constant<int, 32>()); return true;
    default: return false;
  }
}

// colours [C, N, D], background [C, D] or null -> image [C, H, W, D], alpha [C, H, W]; D one of 1, 2, 3, 4, 8, 16, 32.
// Returns 0; 1 when memory ran out; 2 for another D.
EXPORT int splat_composite_forward(const Plan *plan, int channels, const real *colours, const real *background, real *image,
                                   real *alpha, int threads) try {
  bool known = with_channels(channels, [&](auto constant) {
    composite_forward<decltype(constant)::value>(*plan, colours, background, image, alpha, threads);
  });
  return known ? 0 : 2;
} catch (const std::bad_alloc &) {
  return 1;
}

// Gradients of the above. The v_ outputs are added to, so the caller zeroes them; v_alpha and v_means2d_abs may be null.
// Holds about `slot_bytes` at a time; the result does not depend on the number of threads. Returns as the forward.
EXPORT int splat_composite_backward(const Plan *plan, int channels, const real *factors, const real *opacities, const real *colours,
                                    const real *image, const real *alpha, const real *v_image, const real *v_alpha,
                                    real *v_means2d, real *v_factors, real *v_colours, real *v_opacities, real *v_means2d_abs,
                                    int64_t slot_bytes, int threads) try {
  CompositeGradients v{factors, opacities, image, alpha, v_image, v_alpha, v_means2d, v_factors, v_colours, v_opacities, v_means2d_abs};
  bool known = with_channels(channels, [&](auto constant) {
    composite_backward<decltype(constant)::value>(*plan, colours, v, slot_bytes, threads);
  });
  return known ? 0 : 2;
} catch (const std::bad_alloc &) {
  return 1;
}
