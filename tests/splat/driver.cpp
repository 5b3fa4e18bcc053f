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
  const real near = (real)0.01;
  Array means = read(3 * n), quats = read(4 * n), scales = read(3 * n), opacities = read(c * n), sh = read(3 * k * n);
  Array views = read(16 * c), centres = read(3 * c), intrinsics = read(9 * c);

  std::vector<int32_t> visible(2 * c * n);
  int32_t *radii = visible.data();
  Array means2d(2 * c * n), depths(c * n), factors(3 * c * n), colours(3 * c * n), drawn(4 * c * n);
  Array image(4 * pixels), alpha(pixels);
  Plan *plan = nullptr;
  int failed = splat_project_forward(c, n, means, quats, scales, opacities, views, intrinsics, width, height, near,
                                     radii, means2d, depths, factors, threads);
  failed |= splat_harmonics_forward(c, n, degree, means, centres, sh, radii, colours, threads);
  for (int64_t i = 0; i < c * n; i++) {  // a Gaussian's channels are red, green, blue and its depth
    for (int j = 0; j < 3; j++) drawn[4 * i + j] = colours[3 * i + j];
    drawn[4 * i + 3] = depths[i];
  }
  failed |= splat_plan(c, n, depths, radii, means2d, factors, opacities, width, height, &plan, threads);
  failed |= splat_composite_forward(plan, drawn, image, alpha, threads);

  Array v_alpha(pixels, 1), v_means2d(2 * c * n), v_depths(c * n), v_factors(3 * c * n), v_colours(3 * c * n);
  Array v_drawn(4 * c * n), v_opacities(c * n), v_means(3 * n), v_quats(4 * n), v_scales(3 * n), v_sh(3 * k * n);
  Array v_views(16 * c), v_centres(3 * c);
  failed |= splat_composite_backward(plan, factors, opacities, drawn, image, alpha, image, v_alpha, v_means2d,
                                     v_factors, v_drawn, v_opacities, slot_bytes, threads);
  for (int64_t i = 0; i < c * n; i++) {
    for (int j = 0; j < 3; j++) v_colours[3 * i + j] = v_drawn[4 * i + j];
    v_depths[i] = v_drawn[4 * i + 3];
  }
  failed |= splat_harmonics_backward(c, n, degree, means, centres, sh, radii, colours, v_colours, v_sh, v_means,
                                     v_centres, threads);
  failed |= splat_project_backward(c, n, means, quats, scales, views, intrinsics, width, height, radii, v_means2d,
                                   v_depths, v_factors, v_means, v_quats, v_scales, v_views, threads);
  splat_plan_free(plan);

  for (auto *array : {&image, &alpha, &v_means, &v_quats, &v_scales, &v_opacities, &v_sh, &v_views, &v_centres}) {
    write(*array);
  }
  return failed;
}
