// Gradients of the projection.
#pragma once

#include "project.h"

// Gradients of the rows a, b of J M by the factor of the inverse covariance. With s = det cov / cov_yy = root_x^-2,
//   ds     = dcov_xx - 2 shear dcov_xy + shear^2 dcov_yy
//   dshear = (dcov_xy - shear dcov_yy) / cov_yy
// and dcov_xx = 2 a . da, dcov_xy = a . db + b . da, dcov_yy = 2 b . db; terms are collected around r = a - shear b,
// which is small for needles.
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

// Gradient of a normalised quaternion's rotation matrix, taken back through the normalisation.
INLINE void quaternion_gradient(const Ellipsoids &g, const Matrix &v_rotation, Vec *v_quat) {
  const Vec(&v)[3][3] = v_rotation.at;
  Vec w = g.w, x = g.x, y = g.y, z = g.z;
  v_quat[0] = 2 * (x * (v[2][1] - v[1][2]) + y * (v[0][2] - v[2][0]) + z * (v[1][0] - v[0][1]));
  v_quat[1] =
      2 * (-2 * x * (v[1][1] + v[2][2]) + y * (v[1][0] + v[0][1]) + z * (v[2][0] + v[0][2]) + w * (v[2][1] - v[1][2]));
  v_quat[2] =
      2 * (x * (v[1][0] + v[0][1]) - 2 * y * (v[0][0] + v[2][2]) + z * (v[2][1] + v[1][2]) + w * (v[0][2] - v[2][0]));
  v_quat[3] =
      2 * (x * (v[2][0] + v[0][2]) + y * (v[2][1] + v[1][2]) - 2 * z * (v[0][0] + v[1][1]) + w * (v[1][0] - v[0][1]));
  Vec along = v_quat[0] * w + v_quat[1] * x + v_quat[2] * y + v_quat[3] * z;
  v_quat[0] = (v_quat[0] - along * w) * g.inverse_norm;
  v_quat[1] = (v_quat[1] - along * x) * g.inverse_norm;
  v_quat[2] = (v_quat[2] - along * y) * g.inverse_norm;
  v_quat[3] = (v_quat[3] - along * z) * g.inverse_norm;
}

// Gradient of the camera-space point: through the projected mean, the depth, and the Jacobian J (v_j**).
INLINE void point_gradient(const Footprint &f, const Camera &camera, const Vec *v_mean2d, Vec v_depth, Vec v_j00,
                           Vec v_j02, Vec v_j11, Vec v_j12, Vec *v_point) {
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
  const real *means2d, *depths, *factors;  // incoming
  real *means, *quats, *scales;            // outgoing, added to
};

// One camera, LANES Gaussians. v_view: 12 sums over Gaussians of the gradient of [R_v | t], or null.
static void project_backward_block(const Ellipsoids &g, const Camera &camera, Mask visible,
                                   const ProjectionGradients &v, int64_t first, int64_t row, int count, Vec *v_view) {
  Footprint f = project(g, camera);
  Vec v_mean2d[2], v_factor[3], v_depth;
  load_rows<2>(v.means2d, row, count, v_mean2d);
  load_rows<3>(v.factors, row, count, v_factor);
  load_rows<1>(v.depths, row, count, &v_depth);
  Vec v_a[3], v_b[3];
  factor_gradient(f, v_factor, v_a, v_b);
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
        Vec through_M = v_M.at[i][0] * g.scale[0] * R[j][0] + v_M.at[i][1] * g.scale[1] * R[j][1] +
                        v_M.at[i][2] * g.scale[2] * R[j][2];
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

// Adds to v_means, v_quats, v_scales, which the caller zeroes; writes the upper 3x4 of v_views [C, 4, 4] unless it is
// null.
EXPORT int splat_project_backward(int64_t cameras, int64_t gaussians, const real *means, const real *quats,
                                  const real *scales, const real *views, const real *intrinsics, int width, int height,
                                  const int32_t *radii, const real *v_means2d, const real *v_depths,
                                  const real *v_factors, real *v_means, real *v_quats, real *v_scales, real *v_views,
                                  int threads) try {
  ProjectionGradients v{v_means2d, v_depths, v_factors, v_means, v_quats, v_scales};
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
      project_backward_block(g, camera, visible, v, first, row, count, v_views ? v_view : nullptr);
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
  return DONE;
} catch (...) {
  return failure();
}
