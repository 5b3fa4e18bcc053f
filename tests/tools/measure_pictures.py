"""Measures how well pictures hold together, on two-view cases: make measure-pictures DATA=folder.

For each case this prints:
  psnr         of the prior's render at the targets, dB
  photographs  the lowest PSNR at the two photographs' cameras, dB
  dots         share of a target's pixels that are holes within one surface, percent
  cloud        the same for all Gaussians as one cloud, from the first photograph's camera, at 2 and 4 times the size
  tinted       what is lost when one photograph is darker and warmer and the truth changes along with it, dB
  turned       what is lost outside the wedges when one photograph is turned by 3 degrees on black, dB
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.evaluate.cases import Task, find_scenes, load_task, read_cases
from stages.evaluate.method_prior import match_photographs
from stages.files.images import as_in_png
from stages.geometry import pixel_centres, reproject, resize_intrinsics, sampling_grid
from stages.metrics.image import psnr
from stages.pipeline import CoarseScene, predict_gaussians
from stages.plain_border import plain_border, scene_pixels
from stages.prior.load import load_prior
from stages.render import nearness, render
from stages.scene import Cameras, Clip, Views
from stages.splat import draw

PRIOR = Path("stages/weights/small/prior.safetensors")
TINT = torch.tensor([0.78, 0.70, 0.60])[:, None, None]  # gain of the red, green and blue of the second photograph
TURN = math.radians(3)
HOLE, OPAQUE = 0.9, 0.95  # a hole's alpha is below the first; its surroundings' alpha is above the second
AROUND, ENOUGH = 5, 0.5  # side of the window around a hole, px, and the share of it that is opaque
ONE_SURFACE = 1.05  # largest ratio of depths within one surface
SIZES = (2, 4)  # window sizes for the cloud, as multiples of the photographs'


def holes(alpha: Tensor, depth: Tensor) -> float:
    """Share of the pixels [N, h, w] that are holes within one surface, percent."""
    opaque = (alpha > OPAQUE).float()[:, None]
    share = F.avg_pool2d(opaque, AROUND, 1, AROUND // 2)
    largest = F.max_pool2d(depth[:, None] * opaque, AROUND, 1, AROUND // 2)
    smallest = -F.max_pool2d(torch.where(opaque > 0, -depth[:, None], -torch.inf), AROUND, 1, AROUND // 2)
    hole = (alpha[:, None] < HOLE) & (share >= ENOUGH) & (largest <= ONE_SURFACE * smallest)
    return 100 * float(hole.float().mean())


def tints(task: Task) -> Tensor:
    """What `tinted` multiplies the targets with, [T, 3, 1, 1]."""
    share = nearness(task.cameras, task.context.cameras)[:, 1].float()
    return TINT ** share[:, None, None, None]


def tinted(task: Task) -> Task:
    """The second photograph is darker and warmer, and each target by as much as it is nearer to that photograph."""
    images = torch.stack([task.context.images[0], as_in_png(task.context.images[1] * TINT)])
    return replace(task, context=replace(task.context, images=images), truth=task.truth * tints(task))


def turned(task: Task) -> Task:
    """The second photograph is turned about its centre, on black, and its camera with it."""
    views, (h, w) = task.context, task.context.cameras.size
    rotation = torch.tensor([[math.cos(TURN), -math.sin(TURN)], [math.sin(TURN), math.cos(TURN)]])
    centre = torch.tensor([w / 2, h / 2])
    position = (pixel_centres(h, w, like=centre)[..., :2] - centre) @ rotation.T + centre
    grid = sampling_grid(position, (h, w))[None]
    image = F.grid_sample(views.images[[1]], grid, mode="bicubic", align_corners=False)[0]
    c2w = views.cameras.c2w.clone()
    c2w[1, :3, :2] = c2w[1, :3, :2] @ rotation.to(c2w)
    images = torch.stack([views.images[0], as_in_png(image.clamp(0, 1))])
    return replace(task, context=Views(images, Cameras(c2w, views.cameras.K, (h, w))))


def shown(views: Views, clip: Clip) -> Tensor:
    """Pixels of a clip whose surface lies inside one of the photographs and outside its wedges, [T, h, w]."""
    assert clip.depth is not None
    here, photographs = clip.cameras.to(torch.float32), views.cameras.to(torch.float32)
    parts, usable = [], scene_pixels(plain_border(views.images)).float()
    for k in (0, 1):
        pixels, z = reproject(clip.depth, here.K, here.c2w, photographs.K[k], photographs.c2w[k])
        grid = sampling_grid(pixels, photographs.size)
        maps = usable[k].expand(len(grid), 1, -1, -1)
        inside = F.grid_sample(maps, grid, mode="nearest", align_corners=False)[:, 0] > 0
        parts.append(inside & (z > 0) & (grid.abs() < 1).all(-1))
    return parts[0] | parts[1]


def cloud_holes(scene: CoarseScene) -> list[float]:
    """Holes of the cloud from the first photograph's camera, for each of SIZES, percent."""
    camera, found = scene.views.cameras[[0]], []
    for times in SIZES:
        size = (camera.size[0] * times, camera.size[1] * times)
        drawing = draw(scene.gaussians, Cameras(camera.c2w, resize_intrinsics(camera.K, camera.size, size), size))
        found.append(holes(drawing.alpha, drawing.depth))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of scenes")
    parser.add_argument("--weights", type=Path, default=PRIOR, help="of the prior")
    parser.add_argument("--stride", type=int, default=1, help="take every so manieth case")
    options = parser.parse_args()
    network, matched = load_prior(options.weights), match_photographs()

    def scene_of(task: Task) -> CoarseScene:
        return predict_gaussians(*matched(task.context), network)

    def clip_of(scene: CoarseScene, cameras: Cameras) -> Clip:
        clip = render(scene.gaussians, cameras.to(scene.gaussians.means), views=scene.views)
        return replace(clip, frames=as_in_png(clip.frames))

    print(f"{'case':42s} {'psnr':>6s} {'photographs':>11s} {'dots':>6s} {'cloud x2':>8s} {'x4':>6s} tinted turned")
    rows = []
    cases = [case for scene in find_scenes([options.data]) for case in read_cases(scene)]
    with torch.no_grad():
        for case in cases[:: options.stride]:
            task = load_task(case)
            scene = scene_of(task)
            clip, own = clip_of(scene, task.cameras), clip_of(scene, task.context.cameras)
            assert clip.coverage is not None
            assert clip.depth is not None
            figures = [float(psnr(clip.frames, task.truth).mean()), float(psnr(own.frames, task.context.images).min())]
            figures += [holes(clip.coverage, clip.depth), *cloud_holes(scene)]
            # Relative to its truth a tinted frame has smaller errors, so the tint is undone before they are measured.
            untinted = clip_of(scene_of(tinted(task)), task.cameras).frames / tints(task)
            figures.append(figures[0] - float(psnr(untinted, task.truth).mean()))
            wedged = scene_of(turned(task))
            clip_wedged = clip_of(wedged, task.cameras)
            seen = shown(wedged.views, clip_wedged)[:, None].expand_as(task.truth)
            before, after = (-10 * (c.frames - task.truth).square()[seen].mean().log10() for c in (clip, clip_wedged))
            figures.append(float(before - after))
            rows.append(figures)
            psnr_, photographs, dots, x2, x4, tint_loss, turn_loss = figures
            print(
                f"{case.name:42s} {psnr_:6.2f} {photographs:11.2f} {dots:6.3f} {x2:8.3f} {x4:6.3f} {tint_loss:6.2f} "
                f"{turn_loss:6.2f}",
                flush=True,
            )
    mean, table = [sum(column) / len(rows) for column in zip(*rows, strict=True)], torch.tensor(rows)
    print("mean  " + "  ".join(f"{value:.3f}" for value in mean))
    print("least " + "  ".join(f"{value:.3f}" for value in table.amin(0).tolist()))
    print("most  " + "  ".join(f"{value:.3f}" for value in table.amax(0).tolist()))


if __name__ == "__main__":
    main()
