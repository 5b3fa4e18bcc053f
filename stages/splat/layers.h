// Closes small holes of a layer, and blends two layers. stages/render/surfaces.py and layers.py say what this computes
// and why, and have the same in torch.
#pragma once

#include "simd.h"
#include "threads.h"

// One frame. image [3, H, W], alpha and depth [H, W] are changed at the holes.
EXPORT int splat_close(int width, int height, real *image, real *alpha, real *depth, int radius, real opaque,
                       real solid, real one_surface, int threads) {
  try {
    struct Hole {
      int64_t pixel;
      real values[5];
    };
    const int64_t area = (int64_t)width * height;
    const int needed = (int)std::ceil(solid * (2 * radius + 1) * (2 * radius + 1) - (real)1e-3);
    std::vector<std::vector<Hole>> found(std::max(threads, 1));
    // How many of the pixels beside each are opaque.
    std::vector<uint8_t> beside(area);
    run_shares(threads, height, [&](int64_t first, int64_t last, int) {
      std::vector<uint8_t> row(width + 2 * radius);
      for (int64_t y = first; y < last; y++) {
        for (int x = 0; x < width; x++) row[x + radius] = alpha[y * width + x] > opaque;
        for (int x = 0; x < width; x++) {
          uint8_t sum = 0;
          for (int k = 0; k <= 2 * radius; k++) sum += row[x + k];
          beside[y * width + x] = sum;
        }
      }
    });
    run_shares(threads, height, [&](int64_t first, int64_t last, int thread) {
      std::vector<uint8_t> around(width);
      for (int64_t y = first; y < last; y++) {
        std::fill(around.begin(), around.end(), (uint8_t)0);
        for (int64_t j = std::max<int64_t>(0, y - radius); j <= std::min<int64_t>(height - 1, y + radius); j++) {
          for (int x = 0; x < width; x++) around[x] += beside[j * width + x];
        }
        for (int x = 0; x < width; x++) {
          if (around[x] < needed || alpha[y * width + x] > opaque) continue;
          int x0 = std::max(0, x - radius), x1 = std::min(width - 1, x + radius), count = 0;
          int y0 = std::max(0, (int)y - radius), y1 = std::min(height - 1, (int)y + radius);
          real nearest = INFINITY, farthest = 0;
          Hole hole{y * width + x, {}};
          for (int j = y0; j <= y1; j++) {
            for (int i = x0; i <= x1; i++) {
              int64_t at = (int64_t)j * width + i;
              if (!(alpha[at] > opaque)) continue;
              count++;
              nearest = std::min(nearest, depth[at]), farthest = std::max(farthest, depth[at]);
              for (int c = 0; c < 3; c++) hole.values[c] += image[c * area + at];
              hole.values[3] += alpha[at], hole.values[4] += depth[at];
            }
          }
          if (!(farthest <= one_surface * nearest)) continue;
          for (real &value : hole.values) value /= count;
          found[thread].push_back(hole);
        }
      }
    });
    for (const auto &holes : found) {
      for (const Hole &hole : holes) {
        for (int c = 0; c < 3; c++) image[c * area + hole.pixel] = hole.values[c];
        alpha[hole.pixel] = hole.values[3], depth[hole.pixel] = hole.values[4];
      }
    }
    return DONE;
  } catch (...) {
    return failure();
  }
}

// One frame. The first layer's image [3, H, W], alpha and depth [H, W] are replaced by the blend.
EXPORT int splat_blend(int width, int height, real *image, real *alpha, real *depth, const real *other_image,
                       const real *other_alpha, const real *other_depth, real nearness, real other_nearness,
                       real surface_alpha, real behind, int threads) {
  try {
    const int64_t area = (int64_t)width * height;
    run_shares(threads, area, [&](int64_t first, int64_t last, int) {
      for (int64_t i = first; i < last; i++) {
        real a[2] = {alpha[i], other_alpha[i]}, z[2] = {depth[i], other_depth[i]}, near[2] = {nearness, other_nearness};
        real weight[2], surface = std::max(z[0], z[1]);
        for (int k = 0; k < 2; k++) {
          if (a[k] > surface_alpha) surface = std::min(surface, z[k]);
        }
        for (int k = 0; k < 2; k++) {
          real part = std::max(z[k] / std::max(surface, (real)1e-12) - 1, (real)0) / behind;
          weight[k] = a[k] * (near[k] * std::exp(-part * part) + (real)1e-6);
        }
        real sum = std::max(weight[0] + weight[1], (real)1e-12), either = 1 - (1 - a[0]) * (1 - a[1]);
        real first_share = weight[0] / sum / std::max(a[0], (real)1e-3) * either;
        real other_share = weight[1] / sum / std::max(a[1], (real)1e-3) * either;
        for (int c = 0; c < 3; c++) {
          image[c * area + i] = first_share * image[c * area + i] + other_share * other_image[c * area + i];
        }
        alpha[i] = either, depth[i] = surface;
      }
    });
    return DONE;
  } catch (...) {
    return failure();
  }
}
