"""Measures where the prior's renders are wrong, on medium two-view cases: make measure-errors DATA=folder.

Every pixel of a target frame belongs to one group by what the photographs show of its surface. For each group this
prints the share of pixels and of the squared error, the PSNR, and the gain: how much the mean PSNR would rise if the
group were as good as the first one.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.evaluate.cases import find_scenes, load_task, read_cases
from stages.evaluate.method_prior import match_photographs, open_prior
from stages.files.images import as_in_png
from stages.geometry import reproject, sampling_grid
from stages.prior.load import load_prior
from stages.render import render
from stages.scene import Clip, Views
from tests.tools.measure_depth import textureless

PRIOR = Path("stages/weights/small/prior.safetensors")
COVERED = 0.5  # a pixel with at least this coverage counts as explained by the Gaussians
SAME = 0.05  # largest relative difference of depth at which a photograph shows the pixel's surface
GROUPS = (
    "both show it, with texture",
    "both show it, without texture",
    "one shows it, outside the other",
    "one shows it, hidden in the other",
    "neither shows it",
    "uncovered",
)


def groups(clip: Clip, views: Views) -> Tensor:
    """The index into GROUPS of every pixel of the frames, [T, h, w]. views: the photographs with their depth."""
    assert clip.depth is not None
    assert clip.coverage is not None
    assert views.depth is not None
    K, c2w = views.cameras.K.float(), views.cameras.c2w.float()
    here = clip.cameras.to(torch.float32)
    inside, shows, flat = [], [], []
    for k in (0, 1):
        pixels, z = reproject(clip.depth, here.K, here.c2w, K[k], c2w[k])
        grid = sampling_grid(pixels, views.cameras.size).flatten(0, 2)[None, None]
        z = z.flatten()
        maps = torch.stack([views.depth[k], textureless(views.images[[k]])[0].float()])[None]
        depth, plain = F.grid_sample(maps, grid, mode="nearest", align_corners=False)[0, :, 0]
        inside.append((z > 0) & (grid[0, 0].abs() < 1).all(-1))
        shows.append(inside[k] & ((z / depth - 1).abs() < SAME))
        flat.append(plain > 0.5)
    group = torch.full_like(inside[0], 4, dtype=torch.long)
    group[shows[0] | shows[1]] = 3
    group[(shows[0] & ~inside[1]) | (shows[1] & ~inside[0])] = 2
    group[shows[0] & shows[1]] = 0
    group[shows[0] & shows[1] & flat[0] & flat[1]] = 1
    group[clip.coverage.flatten() < COVERED] = 5
    return group.view(clip.coverage.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of scenes")
    options = parser.parse_args()
    prior = open_prior(load_prior(PRIOR, torch.device("cpu")), match_photographs())
    # Share of pixels and of squared error of each group, case by case.
    rows = []
    for case in (case for scene in find_scenes([options.data]) for case in read_cases(scene) if case.kind == "medium"):
        task = load_task(case)
        scene = prior(task.context)
        gaussians, views = scene.gaussians, scene.views
        clip = render(gaussians, task.cameras.to(gaussians.means), views=views)
        error = (as_in_png(clip.frames) - task.truth).square().mean(1)
        group = groups(clip, views)
        count, total = (
            torch.zeros(len(GROUPS)).index_add_(0, group.flatten(), x.flatten())
            for x in (torch.ones_like(error), error)
        )
        rows.append(torch.stack([count, total]) / error.numel())
        print(f"{case.name:42s} {float(-10 * rows[-1][1].sum().log10()):.2f}", flush=True)
    # Means over the cases, and what each group costs.
    share, error = torch.stack(rows).unbind(1)  # [cases, groups], of all pixels
    best = error[:, :1] / share[:, :1].clamp_min(1e-9)
    before = -10 * error.sum(1).log10()
    print(f"mean PSNR of {len(rows)} cases, the frames of a case taken together: {float(before.mean()):.2f}")
    for k, name in enumerate(GROUPS):
        replaced = error.sum(1) - (error[:, k] - (best[:, 0] * share[:, k])).clamp_min(0)
        gain = float((-10 * replaced.log10() - before).mean())
        group_psnr = -10 * (error[:, k].mean() / share[:, k].mean()).log10()
        part = (
            f"{float(share[:, k].mean()):6.1%} of pixels  {float((error[:, k] / error.sum(1)).mean()):6.1%} of "
            "squared error"
        )
        print(f"{name:40s} {part}  PSNR there {float(group_psnr):.2f}  gain {gain:+.2f} dB")


if __name__ == "__main__":
    main()
