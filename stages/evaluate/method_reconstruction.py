"""The methods of the paper's Table 4: optimise a scene from two photographs, then render new views."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from stages.evaluate.method_baselines import Method
from stages.evaluate.method_prior import Prior
from stages.geometry import distance_to_cameras, rays
from stages.pipeline import Student, refine_gaussians, render_path, repair_clip
from stages.reconstruct import Settings
from stages.render import one_cloud, render
from stages.scene import Cameras, Clip, Gaussians, Views, colours_to_sh
from stages.trajectory import along

PIXELS_PER_POINT = 4  # pixels of a photograph per random point
RANDOM_OPACITY = 0.1  # opacity of a random point, as in 3DGS
FRAMES = 49  # number of frames of the clip between the photographs


def photographs_only(settings: Settings, ranges: Callable[[Views], Tensor]) -> Method:
    """3DGS from the two photographs alone, starting from random points (Kerbl et al. 2023, section 7.1)."""

    def method(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        h, w = context.cameras.size
        scene = random_points(context, ranges(context), settings.seed, h * w // PIXELS_PER_POINT)
        refined = refine_gaussians(scene, context, None, settings).gaussians
        return render(refined, cameras.to(refined.means), views=context)

    return method


def refined_prior(prior: Prior, settings: Settings, student: Student | None = None, frames: int = FRAMES) -> Method:
    """One cloud of the prior's Gaussians, refined on the photographs and on the clip between them.

    This is what `videoscene prior`, `render`, `generate` and `reconstruct` produce together, with the true cameras.
    Without a student the clip is the prior's render.
    """

    def method(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        scene = prior(context)
        path = along("interp", scene.views.cameras, scene.gaussians.means, frames)
        clip = repair_clip(render_path(scene.gaussians, scene.views, path), scene.views, student)
        cloud = scene.gaussians
        if clip.exposure is not None:  # each Gaussian says which of the two photographs it comes from
            cloud = one_cloud(cloud, scene.views, clip.exposure)
        refined = refine_gaussians(cloud, scene.views, clip, settings).gaussians
        return replace(render(refined, cameras.to(refined.means), views=scene.views), leap=clip.leap)

    return method


def random_points(context: Views, near_far: Tensor, seed: int, count: int) -> Gaussians:
    """Faint points on random pixels of each photograph, with their colour, at random inverse depths.

    near_far: [2, 2], range of camera z of each photograph, scene units.  count: number of points per photograph.
    The points are on the device of the photographs.
    """
    generator = torch.Generator().manual_seed(seed)
    h, w = context.cameras.size
    means, colours = [], []
    for view in range(len(context.cameras)):
        pixel = torch.randint(h * w, (count,), generator=generator)
        near, far = near_far[view].tolist()
        z = 1 / (1 / far + torch.rand(count, 1, generator=generator) * (1 / near - 1 / far))
        c2w = context.cameras.c2w[view].float()
        points = rays(context.cameras.K[view].float(), (h, w)).reshape(-1, 3)[pixel] * z
        means.append(points @ c2w[:3, :3].T + c2w[:3, 3])
        colours.append(context.images[view].cpu().reshape(3, -1).T[pixel])
    mean = torch.cat(means)
    # Each point covers its share of a photograph: sqrt(h w / count) pixels.
    pixels = (h * w / count) ** 0.5 / float(context.cameras.K[:, 0, 0].mean())
    scales = (distance_to_cameras(mean, context.cameras) * pixels)[:, None].expand(-1, 3)
    quats = mean.new_tensor([1.0, 0, 0, 0]).repeat(len(mean), 1)
    opacities = mean.new_full((len(mean),), RANDOM_OPACITY)
    points = Gaussians(mean, scales, quats, opacities, colours_to_sh(torch.cat(colours)))
    return points.to(context.images.device)
