// Sharp colours for a layer, looked up in its photograph. stages/render/photographs.py says what this computes and why,
// and has the same in torch.
#pragma once

#include "simd.h"
#include "threads.h"

// Four numbers of one pixel: a colour and a depth, the two parts of an offset and a weight, or light. Some are unused.
typedef real Four __attribute__((vector_size(4 * sizeof(real))));

struct Picture {
  const Four *pixels;
  int width, height;

  INLINE_MEMBER Four at(int x, int y) const {
    x = std::min(std::max(x, 0), width - 1);
    y = std::min(std::max(y, 0), height - 1);
    return pixels[(int64_t)y * width + x];
  }

  // x, y: px, 0 at the centre of the first pixel. Beyond the edges the outermost pixels go on.
  INLINE_MEMBER Four bilinear(real x, real y) const {
    x = std::min(std::max(x, (real)0), (real)(width - 1));
    y = std::min(std::max(y, (real)0), (real)(height - 1));
    int left = (int)x, top = (int)y;
    real u = x - left, v = y - top;
    Four upper = at(left, top) * (1 - u) + at(left + 1, top) * u;
    Four lower = at(left, top + 1) * (1 - u) + at(left + 1, top + 1) * u;
    return upper * (1 - v) + lower * v;
  }

  // Cubic convolution (Keys 1981) with the coefficient -0.75, as torch's grid_sample.
  INLINE_MEMBER Four bicubic(real x, real y) const {
    real floor_x = std::floor(x), floor_y = std::floor(y);
    int left = (int)floor_x - 1, top = (int)floor_y - 1;
    real wx[4], wy[4];
    cubic(x - floor_x, wx);
    cubic(y - floor_y, wy);
    bool inside = left >= 0 && top >= 0 && left + 3 < width && top + 3 < height;
    Four sum = {};
    for (int j = 0; j < 4; j++) {
      Four row;
      if (inside) {
        const Four *p = pixels + (int64_t)(top + j) * width + left;
        row = p[0] * wx[0] + p[1] * wx[1] + p[2] * wx[2] + p[3] * wx[3];
      } else {
        row = at(left, top + j) * wx[0] + at(left + 1, top + j) * wx[1] + at(left + 2, top + j) * wx[2] +
              at(left + 3, top + j) * wx[3];
      }
      sum += row * wy[j];
    }
    return sum;
  }

  static INLINE_MEMBER void cubic(real t, real *weight) {
    const real A = (real)-0.75;
    auto far = [A](real x) { return ((A * x - 5 * A) * x + 8 * A) * x - 4 * A; };
    auto close = [A](real x) { return ((A + 2) * x - (A + 3)) * x * x + 1; };
    weight[0] = far(t + 1), weight[1] = close(t), weight[2] = close(1 - t), weight[3] = far(2 - t);
  }
};

// Means over windows of `side` pixels along a row [width]: over the pixels inside the row, or over all of the window.
// Each mean adds its pixels from left to right. Away from the ends of the row, many are added up side by side.
static void box_row(const real *in, real *out, int width, int side, bool inside_only) {
  int radius = side / 2, first = std::min(radius, width), last = std::max(first, width - radius);
  auto near_end = [&](int x) {
    int begin = std::max(0, x - radius), end = std::min(width, x + radius + 1);
    real sum = 0;
    for (int k = begin; k < end; k++) sum += in[k];
    out[x] = sum / (inside_only ? end - begin : side);
  };
  for (int x = 0; x < first; x++) near_end(x);
  for (int x = first; x < last; x++) out[x] = 0;
  for (int k = -radius; k <= radius; k++) {
    for (int x = first; x < last; x++) out[x] += in[x + k];
  }
  for (int x = first; x < last; x++) out[x] /= side;
  for (int x = last; x < width; x++) near_end(x);
}

// The same down the columns of [height, width], for one row `y`.
static void box_column(const real *in, real *out, int width, int height, int y, int side, bool inside_only) {
  int radius = side / 2, begin = std::max(0, y - radius), end = std::min(height, y + radius + 1);
  real factor = 1 / (real)(inside_only ? end - begin : side);
  for (int x = 0; x < width; x++) out[x] = 0;
  for (int k = begin; k < end; k++) {
    const real *row = in + (int64_t)k * width;
    for (int x = 0; x < width; x++) out[x] += row[x];
  }
  for (int x = 0; x < width; x++) out[x] *= factor;
}

// One frame. image [3, H, W] is colour times alpha, and is replaced. alpha, depth: [H, W].
// to_photograph: [3, 4], takes (x z, y z, z, 1) of a pixel of the frame to that of the photograph's small image.
// photograph: in full. maps: offset and usable, in the small size. light: in the small size, see light.py.
// moved: share of the offset and of the light.  typical: see TYPICAL_DIFFERENCE.
// scale, window: sides of the two windows, px, odd.
// gain, offset: [3], exposure.
EXPORT int splat_look_up(int width, int height, real *image, const real *alpha, const real *depth,
                         const real *to_photograph, const real *photograph, int photograph_width,
                         int photograph_height, const real *maps, const real *light, int maps_width,
                         int maps_height, real moved, real typical, int scale, int window, const real *gain,
                         const real *offset, int threads) {
  try {
    Picture full{(const Four *)photograph, photograph_width, photograph_height};
    Picture small{(const Four *)maps, maps_width, maps_height}, lights{(const Four *)light, maps_width, maps_height};
    const real *M = to_photograph;
    const int64_t area = (int64_t)width * height;
    const real across = (real)photograph_width / maps_width, down = (real)photograph_height / maps_height;
    Buffer<real> colours(3 * area), apart(3 * area), trust(area), difference(area), added(3 * area);
    // The colours, and how far they are from the blurred ones, averaged along rows.
    run_shares(threads, height, [&](int64_t first, int64_t last, int) {
      std::vector<real> row(3 * width);
      for (int64_t y = first; y < last; y++) {
        for (int x = 0; x < width; x++) {
          int64_t i = y * width + x;
          real z = std::max(depth[i], (real)1e-9), u = (x + (real)0.5) * z, v = (y + (real)0.5) * z;
          real px = M[0] * u + M[1] * v + M[2] * z + M[3], py = M[4] * u + M[5] * v + M[6] * z + M[7];
          real pz = M[8] * u + M[9] * v + M[10] * z + M[11];
          px /= pz, py /= pz;
          bool known = std::abs(px) < (real)1e6 && std::abs(py) < (real)1e6;  // false for NaN
          if (!known) px = py = 0;
          Four map = small.bilinear(px - (real)0.5, py - (real)0.5);
          Four bright = known && pz > 0 ? lights.bilinear(px - (real)0.5, py - (real)0.5) : Four{};
          px -= moved * map[0], py -= moved * map[1];
          Four colour = full.bicubic(px * across - (real)0.5, py * down - (real)0.5);
          bool shown = known && pz > 0 && depth[i] > 0 && px > 0 && py > 0 && px < maps_width && py < maps_height;
          trust[i] = shown ? std::min(std::max(map[2], (real)0), (real)1) : 0;
          real inverse = 1 / std::max(alpha[i], (real)1e-3);
          for (int c = 0; c < 3; c++) {
            real value = std::min(std::max(colour[c], (real)0), (real)1);
            colours[c * area + i] = value;
            added[c * area + i] = moved * bright[c];
            row[c * width + x] = value - image[c * area + i] * inverse;
          }
        }
        for (int c = 0; c < 3; c++) box_row(&row[c * width], &apart[c * area + y * width], width, scale, true);
      }
    });
    // Averaged down columns, the absolute value, and averaged along rows over the larger window.
    run_shares(threads, height, [&](int64_t first, int64_t last, int) {
      std::vector<real> mean(width), sum(width);
      for (int64_t y = first; y < last; y++) {
        std::fill(sum.begin(), sum.end(), (real)0);
        for (int c = 0; c < 3; c++) {
          box_column(&apart[c * area], mean.data(), width, height, (int)y, scale, true);
          for (int x = 0; x < width; x++) sum[x] += std::abs(mean[x]) / 3;
        }
        box_row(sum.data(), &difference[y * width], width, window, false);
      }
    });
    // Averaged down columns, the trust, and the colours.
    run_shares(threads, height, [&](int64_t first, int64_t last, int) {
      std::vector<real> mean(width);
      for (int64_t y = first; y < last; y++) {
        box_column(difference.data, mean.data(), width, height, (int)y, window, false);
        for (int x = 0; x < width; x++) {
          int64_t i = y * width + x;
          real part = mean[x] / typical;
          real believed = trust[i] == 0 ? 0 : trust[i] * std::exp(-part * part);
          real inverse = 1 / std::max(alpha[i], (real)1e-3), opaque = alpha[i] / std::max(alpha[i], (real)1e-6);
          for (int c = 0; c < 3; c++) {
            real blurred = image[c * area + i] * inverse;
            real colour = (blurred + believed * (colours[c * area + i] - blurred)) * opaque;
            image[c * area + i] = (colour * gain[c] + offset[c] + added[c * area + i]) * alpha[i];
          }
        }
      }
    });
    return DONE;
  } catch (...) {
    return failure();
  }
}

// A photograph as one frame sees it. stages/video/warp.py says what this computes and why, and has the same in torch.
// colours: [3, H, W] and weight: [H, W], the results.  depth: [H, W].  to_photograph: as above.
// photograph: its colours and its depth.  misalignment: see alignment.py.  light: see light.py.
// moved: the share of the misalignment and of the light.
// margin: a point is visible up to this many times the surface's depth.
// nearness: the weight of a visible pixel.  gain, offset: [3], exposure.
EXPORT int splat_warp(int width, int height, real *colours, real *weight, const real *depth, const real *to_photograph,
                      const real *photograph, const real *misalignment, const real *light, int photograph_width,
                      int photograph_height, real moved, real margin, real nearness, const real *gain,
                      const real *offset, int threads) {
  try {
    Picture picture{(const Four *)photograph, photograph_width, photograph_height};
    Picture lights{(const Four *)light, photograph_width, photograph_height};
    Picture shifts{(const Four *)misalignment, photograph_width, photograph_height};
    const real *M = to_photograph;
    const int64_t area = (int64_t)width * height;
    run_shares(threads, height, [&](int64_t first, int64_t last, int) {
      for (int64_t i = first * width; i < last * width; i++) {
        int x = (int)(i % width), y = (int)(i / width);
        real z = depth[i], u = (x + (real)0.5) * z, v = (y + (real)0.5) * z;
        real px = M[0] * u + M[1] * v + M[2] * z + M[3], py = M[4] * u + M[5] * v + M[6] * z + M[7];
        real pz = M[8] * u + M[9] * v + M[10] * z + M[11];
        px /= pz, py /= pz;
        // All comparisons are false for NaN.
        bool visible = z > 0 && pz > 0 && px > 0 && py > 0 && px < photograph_width && py < photograph_height;
        px -= (real)0.5, py -= (real)0.5;
        visible = visible && pz < margin * picture.bilinear(px, py)[3];
        weight[i] = visible ? nearness : 0;
        Four bright = visible ? lights.bilinear(px, py) : Four{}, map = visible ? shifts.bilinear(px, py) : Four{};
        Four colour = visible ? picture.bicubic(px - moved * map[0], py - moved * map[1]) : Four{};
        for (int c = 0; c < 3; c++) {
          real value = visible ? colour[c] * gain[c] + offset[c] + moved * bright[c] : 0;
          colours[c * area + i] = std::min(std::max(value, (real)0), (real)1);
        }
      }
    });
    return DONE;
  } catch (...) {
    return failure();
  }
}
