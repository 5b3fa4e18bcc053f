// Gradients of the compositing.
#pragma once

#include <utility>

#include "composite.h"

// Per pixel, with G = dL/dimage and R the radiance still to come behind the Gaussian, weighted by G:
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
  const real *image, *alpha, *v_image, *v_alpha;          // forward output and its gradients
  real *v_means2d, *v_factors, *v_colours, *v_opacities;  // added to, zeroed by the caller
};

constexpr int SLOT = 6 + CHANNELS;  // numbers in a slot

// Sums of one Gaussian over the pixels of one tile.
struct Moments {
  Vec q, t, y, tt, ty, yy, colour[CHANNELS];

  void store(real *slot) const {
    const Vec *sums[6] = {&q, &t, &y, &tt, &ty, &yy};
    for (int k = 0; k < 6; k++) slot[k] = sum(*sums[k]);
    for (int k = 0; k < CHANNELS; k++) slot[6 + k] = sum(colour[k]);
  }
};

// Rows of tiles, counted over all cameras, whose slots fit into memory together.
struct Band {
  int64_t begin, end;     // tile rows, half open
  int64_t first, last;    // records, half open
  Buffer<int64_t> slots;  // [last - first + 1] where the slots of a record begin
  Buffer<real> sums;      // [slots, SLOT]

  // Tile rows of a record inside the band.
  static std::pair<int64_t, int64_t> rows_of(const Record &g, const Plan &plan, int64_t begin, int64_t end) {
    int64_t camera_row = g.tile0 / plan.tiles_x;
    return {std::max(begin, camera_row + g.y0), std::min(end, camera_row + g.y1)};
  }
  // Where the sums of a record over one tile go.
  real *slot(const Plan &plan, const Record &g, int64_t rank, const Tile &tile) {
    int64_t row = tile.camera * plan.tiles_y + tile.y;
    int64_t top = std::max<int64_t>(begin, tile.camera * plan.tiles_y + g.y0);
    return sums.data + (slots[rank - first] + (row - top) * (g.x1 - g.x0) + (tile.x - g.x0)) * SLOT;
  }
};

static void backward_tile(const Plan &plan, const Buffer<Colour> &colours, const Tile &tile,
                          const CompositeGradients &v, Band &band) {
  Transmittance light(plan, tile);
  alignas(64) Vec remaining[BLOCKS], v_pixel[CHANNELS][BLOCKS];
  std::memset(remaining, 0, sizeof remaining);
  std::memset(v_pixel, 0, sizeof v_pixel);
  tile.for_each_pixel(plan, [&](int block, int lane, int64_t pixel) {
    real total = -(1 - v.alpha[pixel]) * v.v_alpha[pixel];
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
    Moments sums = {};
    bool touched = false;
    for_each_block(g, tile, light,
                   [&](int block, Vec t, Vec dy, Vec power, Mask reached) __attribute__((always_inline)) {
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
                   });
    if (touched) sums.store(band.slot(plan, g, rank, tile));
  }
}

// Adds the slots of each record of the band in the order of its tiles.
static void gather(const Plan &plan, const CompositeGradients &v, const Band &band, int threads) {
  run_shares(threads, band.last - band.first, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++) {
      real total[SLOT] = {};
      for (int64_t slot = band.slots[i]; slot < band.slots[i + 1]; slot++) {
        for (int k = 0; k < SLOT; k++) total[k] += band.sums[slot * SLOT + k];
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
static void open_band(const Plan &plan, int64_t begin, int64_t end, Band &band, int threads) {
  auto before = [&](const Record &g, int64_t camera) { return g.tile0 < camera * plan.tiles_x * plan.tiles_y; };
  const Record *records = plan.records.data;
  band.begin = begin;
  band.end = end;
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
  band.sums.resize(total * SLOT);
  run_shares(threads, total, [&](int64_t from, int64_t to, int) {
    std::memset(band.sums.data + from * SLOT, 0, (to - from) * SLOT * sizeof(real));
  });
}

// Gradients of the above. The v_ outputs are added to, so the caller zeroes them. Holds about `slot_bytes` at a time.
EXPORT int splat_composite_backward(const Plan *plan_of_call, const real *factors, const real *opacities,
                                    const real *colours, const real *image, const real *alpha, const real *v_image,
                                    const real *v_alpha, real *v_means2d, real *v_factors, real *v_colours,
                                    real *v_opacities, int64_t slot_bytes, int threads) try {
  const Plan &plan = *plan_of_call;
  CompositeGradients v{factors, opacities, image,     alpha,     v_image,
                       v_alpha, v_means2d, v_factors, v_colours, v_opacities};
  Buffer<Colour> sorted(plan.visible);
  sort_colours(plan, colours, sorted, threads);
  const int64_t rows = plan.cameras * plan.tiles_y;
  const int64_t limit = slot_bytes / (int64_t)(SLOT * sizeof(real));
  Buffer<int64_t> per_row(rows);
  count_slots(plan, per_row);
  for (int64_t begin = 0, end; begin < rows; begin = end) {
    int64_t slots = per_row[begin];
    for (end = begin + 1; end < rows && slots + per_row[end] <= limit; end++) slots += per_row[end];
    Band band;
    open_band(plan, begin, end, band, threads);
    run_queue(threads, (end - begin) * plan.tiles_x, [&](int64_t item) {
      Tile tile(plan, begin * plan.tiles_x + item);
      backward_tile(plan, sorted, tile, v, band);
    });
    gather(plan, v, band, threads);
  }
  return DONE;
} catch (...) {
  return failure();
}
