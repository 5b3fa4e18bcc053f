// Renders coloured 3D Gaussians on the CPU, forward and backward.
//
// The image model is that of gsplat 1.5.3 `rasterization` (pinhole camera, classic mode), whose formulas this kernel
// follows (https://github.com/nerfstudio-project/gsplat, Apache-2.0; Ye et al. 2024, "gsplat", and Kerbl et al. 2023
// derive them). A pixel centre p sees the Gaussians with z >= near in the order of (float32 depth, index):
//
//   sigma = (p - m)^T Q (p - m) / 2         m: projected mean, Q: inverse of the 2D covariance
//   alpha = min(0.999, opacity exp(-sigma)) skipped below 1/255
//   T'    = T (1 - alpha)                   the pixel closes before the Gaussian that would bring T' to 1e-4 or below
//   image = sum alpha T colour              the depth z is composited as a fourth colour
//
// Q is kept as three numbers of its Cholesky factor: with d = p - m and t = d_x - shear d_y,
//
//   sigma = (root_x^2 t^2 + root_y^2 d_y^2) / 2
//   shear = cov_xy / cov_yy,  root_y = cov_yy^-1/2,  root_x = (cov_yy / det cov)^1/2
//
// In float32 the entries of Q of a needle cancel to nothing along the needle. The factor and its gradients stay exact.
//
// No step depends on tiles, so any tile size and any exact culling gives the same image.
//
// How it is fast: the image is cut into tiles of 32x32 pixels, a tile into blocks of 4x4 pixels, and one block is one
// SIMD vector. A tile walks its Gaussians front to back and touches only blocks inside the exact extent of
// {alpha >= 1/255}.
//
// How it is deterministic: every output is a sum in an order that does not depend on the number of threads. The
// backward of the compositing writes one slot for each (Gaussian, tile), and a second pass adds the slots of a
// Gaussian. There are no atomic additions.
//
// Arrays are dense and row-major. C: cameras, N: Gaussians, K: harmonics, H x W: image. `real` is float; tests compile
// it as double. Culled Gaussians have radii 0 and contribute neither values nor gradients, whatever NaN they hold. The
// code needs the vector extensions of GCC or Clang. Compile with -fno-math-errno -fno-trapping-math, but never with
// -ffast-math: NaN matters here.
//
// The functions marked EXPORT are the interface. Each returns DONE or what went wrong (threads.h).

#include "composite.h"
#include "composite_backward.h"
#include "harmonics.h"
#include "layers.h"
#include "look_up.h"
#include "project.h"
#include "project_backward.h"
#include "simd.h"
#include "threads.h"
#include "tiles.h"
