"""Target cameras in the world of two estimated cameras.

A wrong focal length or a wrong pose distorts the estimated world: no similarity takes the true world onto it. So each
target camera is placed where it sees the matched points of the photographs as the true target camera sees them in the
true world. Others align the target cameras of methods without cameras by the target pictures (Ye et al., NoPoSplat,
ICLR 2025, "evaluation-time pose alignment"). Matched points give the same camera to every method.
"""

import numpy as np
import torch
from torch import Tensor

from stages.evaluate.cases import Task
from stages.geometry import project, turned_by
from stages.prior.epipolar import pinhole, triangulate
from stages.prior.pose import fitting_matches
from stages.scene import Cameras

LEAST_POINTS = 20  # a target that sees fewer matched points keeps its first place, see `align`
POINT_ERROR = 1.0  # distance, px of the photographs, beyond which the weight of a point falls


def place_targets(task: Task, estimated: Cameras, K: Tensor) -> Cameras:
    """The target cameras of a task in the world of the estimated cameras of its photographs.

    estimated: two.  K: [T, 3, 3], px, the intrinsics of the targets in that world.
    """
    true, targets = task.context.cameras.to(torch.float64), task.cameras.to(torch.float64)
    c2w = align(true.c2w, estimated.c2w, targets.c2w, task.times.double())
    # The points of the matches in both worlds.
    a, b = fitting_matches(task.context.images, true)
    points, z = triangulate(a, b, true.c2w, true.K)
    moved, z_moved = triangulate(a, b, estimated.c2w, estimated.K)
    in_front = (z > 0).all(0) & (z_moved > 0).all(0)
    points, moved = points[in_front], moved[in_front]
    for t in range(len(targets)):
        pixels, depth = project(points, targets.K[t], targets.c2w[t])
        inside = (pixels >= 0) & (pixels < pixels.new_tensor([targets.size[1], targets.size[0]]))
        seen = (depth > 0) & inside.all(1)
        if int(seen.sum()) < LEAST_POINTS:
            continue
        start, target = c2w[t], (K[t], moved[seen], pixels[seen])
        c2w[t] = min(start, refine_pose(start, *target), key=lambda pose: _error(pose, *target))
    return Cameras(c2w, K, targets.size)


def refine_pose(c2w: Tensor, K: Tensor, points: Tensor, pixels: Tensor) -> Tensor:
    """The camera near c2w [4, 4] that sees points [P, 3] nearest to pixels [P, 2], by pycolmap under a Cauchy loss."""
    import pycolmap

    start = pycolmap.Rigid3d(torch.linalg.inv(c2w)[:3].numpy())
    options = pycolmap.AbsolutePoseRefinementOptions(loss_function_scale=POINT_ERROR)
    every = np.ones(len(points), bool)
    result = pycolmap.refine_absolute_pose(start, pixels.numpy(), points.numpy(), every, pinhole(K), options)
    if result is None:
        return c2w
    w2c = torch.eye(4, dtype=c2w.dtype)
    w2c[:3] = torch.from_numpy(result["cam_from_world"].matrix().copy())
    return torch.linalg.inv(w2c)


def _error(c2w: Tensor, K: Tensor, points: Tensor, pixels: Tensor) -> float:
    """The median distance of the places where a camera sees points [P, 3] from pixels [P, 2], px."""
    return float((project(points, K, c2w)[0] - pixels).norm(dim=1).median())


def align(pair: Tensor, onto: Tensor, poses: Tensor, times: Tensor) -> Tensor:
    """Move poses by the motion that takes one pair of cameras onto another.

    pair, onto: [2, 4, 4].  poses: [T, 4, 4].  All are camera-to-world.
    times: [T], 0 at the pair's first camera, 1 at its second.

    One similarity does not take both cameras exactly to their goals. So what it misses at each camera, in position and
    in rotation, is added as a correction, and both reach their goals. Any other pose gets a mixture of the two
    corrections, with more of the nearer camera's.
    """
    times = times.clamp(0, 1)[:, None]
    first, second = onto[:, :3, :3] @ pair[:, :3, :3].mT
    between = rotation_vector(first.T @ second)
    half = first @ turned_by(between / 2)
    centres, goals = pair[:, :3, 3], onto[:, :3, 3]
    scale = (goals[1] - goals[0]).norm() / (centres[1] - centres[0]).norm()

    def similarity(points: Tensor) -> Tensor:
        return scale * (points - centres.mean(0)) @ half.T + goals.mean(0)

    remainder = goals - similarity(centres)
    result = poses.clone()
    result[:, :3, :3] = first @ turned_by(times * between) @ poses[:, :3, :3]
    result[:, :3, 3] = similarity(poses[:, :3, 3]) + (1 - times) * remainder[0] + times * remainder[1]
    return result


def rotation_vector(rotation: Tensor) -> Tensor:
    """Axis times angle in radians, [3], of a rotation [3, 3] by less than half a turn."""
    skew = (rotation - rotation.T) / 2
    axis = torch.stack([skew[2, 1], skew[0, 2], skew[1, 0]])
    sine, cosine = axis.norm(), (rotation.trace() - 1) / 2
    return axis * torch.atan2(sine, cosine) / sine.clamp_min(1e-12)
