// Compositing front to back, tile by tile.
#pragma once

#include <cstring>

#include "tiles.h"

constexpr int PREFETCH = 6;  // records ahead
constexpr int CHANNELS = 4;  // red, green, blue and depth

struct Colour {
  real at[CHANNELS];
};

// Colours in the order of the records.
static void sort_colours(const Plan &plan, const real *colours, Buffer<Colour> &out, int threads) {
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
      for (int bx = 0; bx < BLOCKS_X; bx++)
        pixel_x[bx][lane] = (real)(x * TILE + bx * BLOCK_W + lane % BLOCK_W) + (real)0.5;
      for (int by = 0; by < BLOCKS_Y; by++)
        pixel_y[by][lane] = (real)(y * TILE + by * BLOCK_H + lane / BLOCK_W) + (real)0.5;
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

// Transmittance of a tile's pixels. A pixel is open while T > 0; a closed one keeps its transmittance as -T, and pixels
// outside the image start closed. `open` are the blocks with an open pixel.
struct Transmittance {
  alignas(64) Vec at[BLOCKS];
  BlockSet open;

  Transmittance(const Plan &plan, const Tile &tile) {
    for (int block = 0; block < BLOCKS; block++) {
      Mask inside =
          (tile.pixel_x[block % BLOCKS_X] < (real)plan.width) & (tile.pixel_y[block / BLOCKS_X] < (real)plan.height);
      at[block] = inside ? fill(1) : fill(-1);
      if (any(inside)) open.add(block);
    }
  }

  // Lets `alpha` absorb light in the lanes of `reached`. Returns the lanes that were drawn into and their weight alpha
  // T.
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
  auto block = [](int pixel, int size) {
    return (int)((unsigned)std::min(std::max(pixel, 0), TILE - 1) / (unsigned)size);
  };
  int x0 = block(g.left - tile.x * TILE, BLOCK_W);
  int x1 = block(g.right - tile.x * TILE, BLOCK_W);
  int y0 = std::max(block(g.top - tile.y * TILE, BLOCK_H) - 8 * word, 0);
  int y1 = std::min(block(g.bottom - tile.y * TILE, BLOCK_H) - 8 * word, 7);
  if (WORDS > 1 && y0 > y1) return 0;
  uint64_t columns = (((uint64_t)2 << (x1 - x0)) - 1) << x0;
  uint64_t rows = (~(uint64_t)0 >> (56 - 8 * (y1 - y0))) << (8 * y0);
  return columns * 0x0101010101010101u & rows;
}

// Walks the open blocks of the Gaussian's box: body(block, t, dy, power, reached), where t = dx - shear dy, dx and dy
// are the distances from the mean, and `reached` are the lanes with alpha >= 1/255.
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
static void composite_tile(const Plan &plan, const Buffer<Colour> &colours, const Tile &tile, real *image,
                           real *alpha_image) {
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
  tile.for_each_pixel(plan, [&](int block, int lane, int64_t pixel) {
    alpha_image[pixel] = 1 - std::abs(light.at[block][lane]);
    for (int k = 0; k < CHANNELS; k++) image[pixel * CHANNELS + k] = sums[k][block][lane];
  });
}

// colours [C, N, 4] -> image [C, H, W, 4], alpha [C, H, W].
EXPORT int splat_composite_forward(const Plan *plan_of_call, const real *colours, real *image, real *alpha,
                                   int threads) try {
  const Plan &plan = *plan_of_call;
  Buffer<Colour> sorted(plan.visible);
  sort_colours(plan, colours, sorted, threads);
  run_queue(threads, plan.tiles(), [&](int64_t number) {
    Tile tile(plan, number);
    composite_tile(plan, sorted, tile, image, alpha);
  });
  return DONE;
} catch (...) {
  return failure();
}
