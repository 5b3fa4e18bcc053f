// Renders one scene with the kernel and takes the gradients of sum(image^2) / 2 + sum(alpha). It needs no Python, so an
// emulated processor can run it. stdin and stdout hold the arrays in the order of main, as doubles without a header.
// recorded.py runs it.

#include "kernel.cpp"

#include <cstdio>

struct Array : std::vector<real> {
  using std::vector<real>::vector;
  operator real *() { return data(); }
};

static Array read(int64_t size) {
  std::vector<double> numbers(size);
  if (fread(numbers.data(), sizeof(double), size, stdin) != (size_t)size) std::exit(2);
  return Array(numbers.begin(), numbers.end());
}

static void write(const Array &array) {
  std::vector<double> numbers(array.begin(), array.end());
  fwrite(numbers.data(), sizeof(double), numbers.size(), stdout);
}

int main() {
  Array sizes = read(5);
  const int64_t c = (int64_t)sizes[0], n = (int64_t)sizes[1];
  const int degree = (int)sizes[2], width = (int)sizes[3], height = (int)sizes[4];
  const int k = (degree + 1) * (degree + 1), threads = 2;
  const int64_t pixels = c * height * width, slot_bytes = 1 << 30;
  const real eps2d = (real)0.3, near = (real)0.01, far = (real)1e10, radius_clip = 0;
  Array means = read(3 * n), quats = read(4 * n), scales = read(3 * n), opacities = read(c * n);
  Array coefficients = read(3 * k * n);
  Array views = read(16 * c), centres = read(3 * c), intrinsics = read(9 * c), backgrounds = read(3 * c);

  std::vector<int32_t> visible(2 * c * n);
  int32_t *radii = visible.data();
  Array means2d(2 * c * n), depths(c * n), factors(3 * c * n), colours(3 * c * n), image(3 * pixels), alpha(pixels);
  splat_project_forward(c, n, means, quats, scales, opacities, views, intrinsics, width, height, eps2d, near, far,
                        radius_clip, radii, means2d, depths, factors, nullptr, threads);
  splat_harmonics_forward(c, n, degree, k, means, centres, coefficients, radii, colours, threads);
  Plan *plan = splat_plan(c, n, depths, radii, means2d, factors, opacities, width, height, threads);
  int failed = splat_composite_forward(plan, 3, colours, backgrounds, image, alpha, threads);

  Array v_alpha(pixels, 1), v_means2d(2 * c * n), v_depths(c * n), v_factors(3 * c * n), v_colours(3 * c * n);
  Array v_means(3 * n), v_quats(4 * n), v_scales(3 * n), v_opacities(c * n), v_coefficients(3 * k * n);
  Array v_views(16 * c), v_centres(3 * c);
  failed |= splat_composite_backward(plan, 3, factors, opacities, colours, image, alpha, image, v_alpha, v_means2d,
                                     v_factors, v_colours, v_opacities, nullptr, slot_bytes, threads);
  failed |= splat_harmonics_backward(c, n, degree, k, means, centres, coefficients, radii, colours, v_colours,
                                     v_coefficients, v_means, v_centres, threads);
  failed |= splat_project_backward(c, n, means, quats, scales, views, intrinsics, width, height, eps2d, radii, nullptr,
                                   v_means2d, v_depths, v_factors, nullptr, v_means, v_quats, v_scales, v_views,
                                   threads);
  splat_plan_free(plan);

  for (auto *array : {&image, &alpha, &v_means, &v_quats, &v_scales, &v_opacities, &v_coefficients, &v_views, &v_centres})
    write(*array);
  return failed;
}
