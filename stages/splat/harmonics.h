// Colours from spherical harmonics, and their gradients.
#pragma once

#include "simd.h"
#include "threads.h"

constexpr int MAX_HARMONICS = 25;

// A value with its gradient by the direction (x, y, z): forward-mode differentiation of the basis below.
struct Dual {
  Vec value, dx, dy, dz;
};
INLINE Dual operator*(const Dual &a, const Dual &b) {
  return {a.value * b.value, a.dx * b.value + a.value * b.dx, a.dy * b.value + a.value * b.dy,
          a.dz * b.value + a.value * b.dz};
}
INLINE Dual operator+(const Dual &a, const Dual &b) {
  return {a.value + b.value, a.dx + b.dx, a.dy + b.dy, a.dz + b.dz};
}
INLINE Dual operator-(const Dual &a, const Dual &b) {
  return {a.value - b.value, a.dx - b.dx, a.dy - b.dy, a.dz - b.dz};
}
INLINE Dual operator*(real s, const Dual &a) { return {s * a.value, s * a.dx, s * a.dy, s * a.dz}; }
INLINE Dual operator+(const Dual &a, real s) { return {a.value + s, a.dx, a.dy, a.dz}; }
INLINE void set_constant(Vec &out, real s) { out = fill(s); }
INLINE void set_constant(Dual &out, real s) { out = {fill(s), fill(0), fill(0), fill(0)}; }

// Real spherical harmonics up to degree 4 of a unit vector by the recurrences of Sloan 2013, "Efficient Spherical
// Harmonic Evaluation": cos_m, sin_m are the real and imaginary part of (x + i y)^m.
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
EXPORT int splat_harmonics_forward(int64_t cameras, int64_t gaussians, int degree, const real *means,
                                   const real *centres, const real *coefficients, const int32_t *radii, real *colours,
                                   int threads) try {
  const int harmonics = (degree + 1) * (degree + 1);
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
      for (int k = 0; k < harmonics; k++) {
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
  return DONE;
} catch (...) {
  return failure();
}

// Gradients of one camera and one Gaussian by its coefficients; `basis_dot` gets sum_channel coefficient * v_colour for
// each basis.
INLINE void coefficient_gradient(const Dual *basis, int lane, int harmonics, const real *coefficient,
                                 const real *v_colour, bool overwrite, real *v_coefficient, Vec *basis_dot) {
  for (int k = 0; k < harmonics; k++) {
    real b = basis[k].value[lane];
    real dot = 0;
    for (int channel = 0; channel < 3; channel++) {
      real v = b * v_colour[channel];
      v_coefficient[3 * k + channel] = overwrite ? v : v_coefficient[3 * k + channel] + v;
      dot += coefficient[3 * k + channel] * v_colour[channel];
    }
    basis_dot[k][lane] = dot;
  }
}

// Writes v_coefficients and v_centres [C, 3]; adds to v_means, which the caller zeroes.
EXPORT int splat_harmonics_backward(int64_t cameras, int64_t gaussians, int degree, const real *means,
                                    const real *centres, const real *coefficients, const int32_t *radii,
                                    const real *colours, const real *v_colours, real *v_coefficients, real *v_means,
                                    real *v_centres, int threads) try {
  const int harmonics = (degree + 1) * (degree + 1);
  int64_t chunks = chunks_of(gaussians);
  Buffer<double> partial(chunks * cameras * 3);
  auto one_block = [&](int64_t first, int count, int64_t c, double *v_centre) {
    Directions d = load_directions(means, centres + 3 * c, first, count);
    Vec one = fill(1), zero = {};
    Dual basis[MAX_HARMONICS];
    harmonics_basis<Dual>(degree, Dual{d.x, one, zero, zero}, Dual{d.y, zero, one, zero}, Dual{d.z, zero, zero, one},
                          basis);
    Vec basis_dot[MAX_HARMONICS] = {};
    for (int lane = 0; lane < count; lane++) {
      int64_t row = c * gaussians + first + lane;
      real *v_coefficient = v_coefficients + (first + lane) * harmonics * 3;
      if (!is_visible(radii, row)) {
        if (c == 0) std::fill(v_coefficient, v_coefficient + 3 * harmonics, (real)0);
        continue;
      }
      real v_colour[3];
      for (int channel = 0; channel < 3; channel++)
        v_colour[channel] = colours[3 * row + channel] > 0 ? v_colours[3 * row + channel] : 0;
      const real *coefficient = coefficients + (first + lane) * harmonics * 3;
      coefficient_gradient(basis, lane, harmonics, coefficient, v_colour, c == 0, v_coefficient, basis_dot);
    }
    Vec v[3] = {};
    for (int k = 1; k < harmonics; k++) {
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
  return DONE;
} catch (...) {
  return failure();
}
