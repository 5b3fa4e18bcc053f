// Sorting by depth, and binning into tiles.
#pragma once

#include <cstring>
#include <limits>
#include <utility>

#include "project.h"
#include "simd.h"
#include "threads.h"

constexpr int TILE = 32;
constexpr int BLOCK_W = 4;
constexpr int BLOCK_H = LANES / BLOCK_W;
constexpr int BLOCKS_X = TILE / BLOCK_W;
constexpr int BLOCKS_Y = TILE / BLOCK_H;
constexpr int BLOCKS = BLOCKS_X * BLOCKS_Y;
constexpr int WORDS = BLOCKS / 64;
static_assert(BLOCKS_X == 8 && BLOCKS % 64 == 0, "eight rows of blocks are one 64-bit mask");

// The extent of {alpha >= 1/255} is widened by so much, relatively and in pixels, before pixels and tiles are left out:
// rounding then never loses a pixel. The test of each pixel decides.
constexpr real WIDENED = (real)1.0005;
constexpr real WIDENED_BY = (real)1e-3;

constexpr real LOG2E = (real)1.4426950408889634074;

// One visible Gaussian of one camera as the compositing reads it: a single cache line. Powers are of two:
// alpha = opacity * 2^-((root_x t)^2 + (root_y dy)^2), and alpha >= 1/255 exactly where that power reaches `threshold`.
struct alignas(64) Record {
  real x, y;                   // projected mean, px
  real root_x, shear, root_y;  // factor of the inverse covariance, the roots times (log2(e) / 2)^1/2
  real opacity;
  real threshold;        // -log2(255 opacity)
  uint16_t left, right;  // pixels whose centres lie in the box around {alpha >= 1/255}, inclusive
  uint16_t top, bottom;
  uint16_t x0, x1, y0, y1;  // tiles of those pixels, half open; none if the box holds no pixel centre
  int32_t row;              // camera * N + index
  int32_t tile0;            // number of the camera's first tile
  uint64_t hit;             // which of its first 64 tiles the ellipse touches
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

// Writes the rows of one camera's visible Gaussians by (float32 depth, index): radix sort, three digits of 11 bits.
// Depths are positive, so their bits sort like the numbers. Returns how many. `scratch` holds 3 N numbers.
static int64_t sort_by_depth(const real *depths, const int32_t *radii, int64_t gaussians, int64_t first_row,
                             int32_t *rows, uint32_t *scratch) {
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

// Does the Gaussian reach 1/255 anywhere on the rectangle of the tile's pixel centres? Its power is concave, so the
// largest value outside the mean lies on an edge that faces the mean.
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
  return best >= g.threshold * WIDENED - WIDENED_BY;
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

// Tests the tiles of a Gaussian of middle size; one or two tiles are not worth a test, more than 64 are tested when
// needed.
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
    // {alpha >= 1/255} is {2 sigma <= 2 ln(255 opacity)}; its half sizes are the root of that times cov_xx, cov_yy,
    // where cov_yy = root_y^-2 and cov_xx = root_x^-2 + shear^2 cov_yy.
    Vec log_ratio = log_fast(maximum(opacity, fill((real)1e-30)) * (real)255);
    Vec level = 2 * WIDENED * maximum(log_ratio, fill(0)) + WIDENED_BY;
    Vec cov_yy = (real)1 / (root_y * root_y);
    Vec cov_xx = (real)1 / (root_x * root_x) + shear * shear * cov_yy;
    Vec extent_x = square_root(level * cov_xx) * WIDENED + WIDENED_BY;
    Vec extent_y = square_root(level * cov_yy) * WIDENED + WIDENED_BY;
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

// Counting sort of (tile, rank): every thread counts its share, prefix sums give each (tile, thread) its place, every
// thread fills. Ranks stay ordered within a tile whatever the number of threads.
static void bin_records(Plan &plan, const Projected &in, int threads) {
  int64_t tiles = plan.tiles();
  Buffer<int64_t> counts(tiles * threads);
  std::fill(counts.data, counts.data + tiles * threads, (int64_t)0);
  run_shares(threads, plan.visible, [&](int64_t begin, int64_t end, int thread) {
    int64_t *count = counts.data + thread * tiles;
    make_records(plan, in, begin, end);
    for (int64_t rank = begin; rank < end; rank++)
      for_each_tile(plan.records[rank], plan.tiles_x, [&](int64_t tile) { count[tile]++; });
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

// depths [C, N], radii [C, N, 2], means2d [C, N, 2], factors [C, N, 3], opacities [C, N] -> a plan, to be freed with
// splat_plan_free. C N must be below 2^31.
EXPORT int splat_plan(int64_t cameras, int64_t gaussians, const real *depths, const int32_t *radii, const real *means2d,
                      const real *factors, const real *opacities, int width, int height, Plan **result,
                      int threads) try {
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
    counts[c] = sort_by_depth(depths + first, radii + 2 * first, gaussians, first, plan->rows.data + first,
                              scratch.data + 3 * first);
  });
  for (int64_t c = 0; c < cameras; c++) {
    std::memmove(plan->rows.data + plan->visible, plan->rows.data + c * gaussians, counts[c] * sizeof(int32_t));
    plan->visible += counts[c];
  }
  plan->records.resize(plan->visible);
  bin_records(*plan, Projected{means2d, factors, opacities}, threads);
  *result = std::exchange(guard.plan, nullptr);
  return DONE;
} catch (...) {
  return failure();
}

EXPORT void splat_plan_free(Plan *plan) { delete plan; }
