// Projection of Gaussians into cameras: EWA splatting, Zwicker et al. 2001.
#pragma once

#include <limits>

#include "simd.h"
#include "threads.h"

constexpr real ALPHA_MIN = (real)(1.0 / 255.0);
constexpr real ALPHA_MAX = (real)0.999;
constexpr real TRANSMITTANCE_MIN = (real)1e-4;
constexpr real EXTENT_MAX = (real)3.33;  // standard deviations at which even an opaque Gaussian is below 1/255
constexpr real MARGIN = (real)0.3;       // how far outside the image the Jacobian is still taken at the mean
constexpr real BLUR = (real)0.3;         // variance added to every footprint, px^2 (eps2d of gsplat)

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
//   J     = [fx/z 0 -fx tx/z^2; 0 fy/z -fy ty/z^2]   Jacobian of the projection, tx/z and ty/z clamped to the camera's
//   limits cov   = (J M)(J M)^T + BLUR I            covariance in the image
// With a, b the rows of J M, det(J M M^T J^T) = |a x b|^2, which needles do not cancel.
struct Footprint {
  Vec point[3], inverse_z;
  Matrix M;
  Vec tx, ty;
  Mask inside_x, inside_y;  // the clamp did nothing
  Vec j00, j02, j11, j12;
  Vec a[3], b[3];
  Vec cov_xx, cov_xy, cov_yy;
  Vec det;
};

INLINE Vec dot(const Vec *a, const Vec *b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

INLINE void cross_product(const Vec *a, const Vec *b, Vec *out) {
  out[0] = a[1] * b[2] - a[2] * b[1];
  out[1] = a[2] * b[0] - a[0] * b[2];
  out[2] = a[0] * b[1] - a[1] * b[0];
}

INLINE Footprint project(const Ellipsoids &g, const Camera &camera) {
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
  Vec cross[3];
  cross_product(f.a, f.b, cross);
  Vec aa = dot(f.a, f.a);
  Vec bb = dot(f.b, f.b);
  f.cov_xx = aa + BLUR;
  f.cov_yy = bb + BLUR;
  f.cov_xy = dot(f.a, f.b);
  f.det = dot(cross, cross) + BLUR * (aa + bb + BLUR);
  return f;
}

// Half sizes in pixels of the box around {alpha >= 1/255}, or zeros where the Gaussian cannot be seen.
INLINE void bounding_radii(real x, real y, real sigma_x, real sigma_y, real opacity, int width, int height,
                           int32_t *radii) {
  radii[0] = 0;
  radii[1] = 0;
  if (!(opacity >= ALPHA_MIN)) return;
  real extent = std::min(EXTENT_MAX, std::sqrt(2 * std::log(opacity / ALPHA_MIN)));
  real radius_x = std::ceil(extent * sigma_x);
  real radius_y = std::ceil(extent * sigma_y);
  bool on_screen = x + radius_x > 0 && x - radius_x < width && y + radius_y > 0 && y - radius_y < height;
  if (!on_screen) return;
  radii[0] = (int32_t)std::min<real>(radius_x, 1e9);
  radii[1] = (int32_t)std::min<real>(radius_y, 1e9);
}

// means [N, 3], quats [N, 4], scales [N, 3], opacities [N], views [C, 4, 4], intrinsics [C, 3, 3] ->
// radii [C, N, 2], means2d [C, N, 2], depths [C, N], factors [C, N, 3] = (root_x, shear, root_y).
EXPORT int splat_project_forward(int64_t cameras, int64_t gaussians, const real *means, const real *quats,
                                 const real *scales, const real *opacities, const real *views, const real *intrinsics,
                                 int width, int height, real near, int32_t *radii, real *means2d, real *depths,
                                 real *factors, int threads) try {
  const real largest = std::numeric_limits<real>::max();
  auto one_block = [&](int64_t first, int count) {
    Ellipsoids g = load_ellipsoids(means, quats, scales, first, count);
    for (int64_t c = 0; c < cameras; c++) {
      Camera camera = make_camera(views + 16 * c, intrinsics + 9 * c, width, height);
      Footprint f = project(g, camera);
      Vec inverse_det = (real)1 / f.det;
      Mask valid = (f.point[2] >= near) & (f.det > fill(0)) & (f.det <= fill(largest));
      Vec mean2d[2] = {keep(valid, camera.fx * f.point[0] * f.inverse_z + camera.cx),
                       keep(valid, camera.fy * f.point[1] * f.inverse_z + camera.cy)};
      Vec factor[3] = {keep(valid, square_root(f.cov_yy * inverse_det)), keep(valid, f.cov_xy / f.cov_yy),
                       keep(valid, (real)1 / square_root(f.cov_yy))};
      Vec sigma_x = square_root(f.cov_xx);
      Vec sigma_y = square_root(f.cov_yy);
      int64_t row = c * gaussians + first;
      store_rows<2>(means2d, row, count, mean2d);
      store_rows<3>(factors, row, count, factor);
      store_rows<1>(depths, row, count, &f.point[2]);
      for (int lane = 0; lane < count; lane++) {
        real opacity = valid[lane] ? opacities[first + lane] : (real)0;
        bounding_radii(mean2d[0][lane], mean2d[1][lane], sigma_x[lane], sigma_y[lane], opacity, width, height,
                       radii + 2 * (row + lane));
      }
    }
  };
  run_shares(threads, (gaussians + LANES - 1) / LANES, [&](int64_t begin, int64_t end, int) {
    for (int64_t block = begin; block < end; block++) {
      one_block(block * LANES, (int)std::min<int64_t>(LANES, gaussians - block * LANES));
    }
  });
  return DONE;
} catch (...) {
  return failure();
}
