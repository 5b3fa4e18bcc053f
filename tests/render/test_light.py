"""What is left of the difference in colour of two photographs passes slowly from one to the other along the path."""

import pytest
import torch
from torch import Tensor

from stages.plain_border import without_border
from stages.render import render
from stages.render.light import difference_in_light
from stages.render.pictures import middle_and_photographs
from stages.scene import Cameras, Exposure, Gaussians, Views, colours_to_sh

SIZE, DEPTH, BASELINE = (64, 96), 2.0, 0.6
MOVED = round(BASELINE * 80 / DEPTH)  # px between the two photographs
# Columns that show the same part of the wall: in the middle between the cameras, and in both photographs.
SHARED_COLUMNS = (slice(30, 60), slice(30 + MOVED // 2, 60 + MOVED // 2), slice(30 - MOVED // 2, 60 - MOVED // 2))
EVEN = Exposure(torch.ones(3), torch.full((3,), 1e-6))  # as good as none, but not `Exposure.same()`


def cameras(*x: float) -> Cameras:
    c2w = torch.eye(4).repeat(len(x), 1, 1)
    c2w[:, 0, 3] = torch.tensor(x)
    K = torch.tensor([[80.0, 0, SIZE[1] / 2], [0, 80, SIZE[0] / 2], [0, 0, 1]])
    return Cameras(c2w, K.repeat(len(x), 1, 1), SIZE)


def in_another_light() -> tuple[Views, Tensor]:
    """Two photographs of a grey wall, and the light [h, w] that the second one has more, at its own pixels."""
    across = torch.linspace(-1, 1, SIZE[1]).expand(SIZE)
    light = 0.06 + 0.05 * across
    images = torch.full((2, 3, *SIZE), 0.5)
    images[1] += light
    return Views(images, cameras(0.0, BASELINE), torch.full((2, *SIZE), DEPTH)), light


def wall(views: Views) -> Gaussians:
    """One Gaussian for each pixel of both photographs."""
    parts = []
    for k in (0, 1):
        y, x = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing="ij")
        means = torch.stack([(x - SIZE[1] / 2) / 80, (y - SIZE[0] / 2) / 80, torch.ones_like(x)], -1).reshape(-1, 3)
        means = DEPTH * means + views.cameras.c2w[k, :3, 3]
        g, colours = len(means), views.images[k].permute(1, 2, 0).reshape(-1, 3)
        parts.append(
            Gaussians(
                means,
                torch.full((g, 3), 0.6 * DEPTH / 80),
                torch.tensor([1.0, 0, 0, 0]).expand(g, 4),
                torch.full((g,), 0.98),
                colours_to_sh(colours),
                torch.full((g,), k, dtype=torch.uint8),
            )
        )
    return Gaussians(*(torch.cat(pair) for pair in zip(*(vars(part).values() for part in parts), strict=True)))


def test_light_is_the_smooth_difference_where_both_show_a_place() -> None:
    views, light = in_another_light()
    found = difference_in_light(views, 1, EVEN)
    shared = (slice(None), slice(8, -8), slice(8, SIZE[1] - MOVED - 8))
    assert float((found + light)[shared].abs().max()) < 0.02
    back = difference_in_light(views, 0, EVEN)
    assert float((back[:, :, MOVED:] + found[:, :, : SIZE[1] - MOVED]).abs().mean()) < 0.01, "there and back"


def test_other_things_are_not_another_light() -> None:
    views, _ = in_another_light()
    views.images[1, :, 20:40, 20:60] = torch.tensor([0.0, 0.9, 0.1])[:, None, None]
    found = difference_in_light(views, 1, EVEN)
    assert -0.13 < float(found.min()) <= float(found.max()) < 0.02
    nothing = Views(1 - views.images, views.cameras, torch.stack([views.images[0, 0] * 0 + DEPTH, 3 * views.depth[0]]))  # type: ignore[index]
    assert float(difference_in_light(nothing, 0, EVEN).abs().max()) == 0, "no place is shown by both"


def test_the_border_of_a_photograph_is_not_its_light() -> None:
    dark = 0.2 + 0 * in_another_light()[0].images
    dark[1, :, :, :6] = 0
    views = Views(dark, cameras(0.0, BASELINE), torch.full((2, *SIZE), DEPTH))
    assert float(difference_in_light(views, 0, EVEN).min()) < -0.015, "as long as it counts as part of the scene"
    assert float(difference_in_light(without_border(views), 0, EVEN).abs().max()) < 0.003


def test_the_middle_and_both_photographs_of_a_cloud_have_one_light() -> None:
    views, _ = in_another_light()
    pictures = middle_and_photographs(wall(views), views, EVEN, SIZE)
    shared = [picture.image[:, 8:-8, at] for picture, at in zip(pictures, SHARED_COLUMNS, strict=True)]
    for k in (1, 2):
        assert float((shared[k] - shared[0]).abs().mean()) < 0.012
    assert float((views.images[0] - views.images[1])[:, 8:-8].abs().mean()) > 0.05


def test_photographs_that_are_left_as_they_are_keep_their_light() -> None:
    assert not difference_in_light(in_another_light()[0], 0, Exposure.same()).any()


@pytest.mark.parametrize(("exposure", "seam"), [(EVEN, False), (Exposure.same(), True)])
def test_there_is_no_seam_where_a_photograph_ends(exposure: Exposure, seam: bool) -> None:
    views, _ = in_another_light()
    frame = render(wall(views), cameras(BASELINE / 2), views, exposure).frames[0]
    jump = float(frame[:, 8:-8, 4:-4].diff(dim=-1).abs().amax())
    assert (jump > 0.015) == seam, "the second photograph ends inside the frame"
