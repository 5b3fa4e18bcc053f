"""What is shown of a finished reconstruction: videos along two paths, and points for the COLMAP model."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.reconstruct.optimise import Reconstruction
from stages.reconstruct.orbit_and_depth import depth_pictures, orbit_of, points_of
from stages.reconstruct.tracks import find_tracks
from stages.render import render
from stages.scene import Cameras, Views

ORBIT_FRAMES = 49  # number of frames of the orbit


@dataclass(frozen=True, eq=False)
class Presentation:
    """Everything is on the CPU, except `path`.

    path: the cameras of `video` and `depth`, on the device of the Gaussians.
    video, orbit, depth: frames [T, 3, h, w] in [0, 1]; depth is inverse depth in grey.
    points, colours: [P, 3], scene units and sRGB: points that two photographs show, then centres of solid Gaussians.
    observations: [O, 4], one row for each photograph that shows a point: index of the point, index of the photograph,
    x, y (px). Only the points from matches have such rows.
    """

    path: Cameras
    video: Tensor
    orbit: Tensor
    depth: Tensor
    points: Tensor
    colours: Tensor
    observations: Tensor


def present(result: Reconstruction, path: Cameras) -> Presentation:
    """Render the result along a path and an orbit, and match the photographs for points that they share."""
    gaussians, cameras, count = result.gaussians, result.cameras.to("cpu"), result.targets.photographs
    photographs = Views(result.targets.images[:count], cameras[:count])
    tracks, (centres, colours) = find_tracks(photographs), points_of(gaussians)
    path = path.to(gaussians.means)
    orbit = orbit_of(gaussians, cameras, ORBIT_FRAMES).to(gaussians.means)
    return Presentation(
        path,
        render(gaussians, path).frames.cpu(),
        render(gaussians, orbit).frames.cpu(),
        depth_pictures(gaussians, path).cpu(),
        torch.cat([tracks.points, centres.double().cpu()]),
        torch.cat([tracks.colors, colours.cpu()]),
        tracks.observations,
    )
