"""The small network: shapes, symmetries that its geometry must have, gradients, and its output before any training."""

from dataclasses import Field, fields, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError
from stages.geometry import project, quaternion_product, quaternions, rays, unproject
from stages.prior.config import RE10K, SMALL, SMALL_MATCHING, PriorConfig
from stages.prior.network import MVSplat, PriorOutput
from stages.prior.plane_sweep import NEARER
from tests.prior.test_plane_sweep import pose


@pytest.fixture(scope="module", params=[SMALL, SMALL_MATCHING], ids=["monocular", "matching"])
def config(request: pytest.FixtureRequest) -> PriorConfig:
    """The small network with and without the monocular branch."""
    chosen: PriorConfig = request.param
    return chosen


@pytest.fixture(scope="module")
def network(config: PriorConfig) -> MVSplat:
    """The network as it starts."""
    torch.manual_seed(0)
    return MVSplat(config).eval()


@pytest.fixture(scope="module")
def shaken(config: PriorConfig) -> MVSplat:
    """The network with weights that are zero nowhere, so that every path matters."""
    torch.manual_seed(0)
    network = MVSplat(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return network


Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def inputs(h: int = 32, w: int = 48, b: int = 1, v: int = 2, seed: int = 0) -> Inputs:
    torch.manual_seed(seed)
    images = F.interpolate(torch.rand(b * v, 3, h // 4, w // 4), (h, w), mode="bicubic").clamp(0, 1).view(b, v, 3, h, w)
    c2w = (
        torch.stack([pose(0.05 * i, 0.03 * i, (0.25 * i, 0.05 * i, 0.02 * i)) for i in range(b * v)])
        .float()
        .view(b, v, 4, 4)
    )
    K = torch.tensor([[0.9 * w, 0, 0.5 * w], [0, 0.9 * w, 0.5 * h], [0, 0, 1]]).repeat(b, v, 1, 1)
    K[:, 1, 0, 0] *= 1.1
    return images, c2w, K, torch.tensor([1.0, 10.0]).repeat(b, v, 1)


def tensors(output: PriorOutput) -> list[Field[Any]]:
    """The fields of an output that are tensors of the batch."""
    return [field for field in fields(output) if field.name != "monocular"]


def predict(network: MVSplat, given: Inputs) -> PriorOutput:
    with torch.no_grad():
        return network(*given)


@pytest.mark.parametrize(("h", "w", "b", "v"), [(32, 48, 2, 2), (16, 16, 1, 2), (48, 80, 1, 2), (32, 32, 1, 3)])
def test_shapes(network: MVSplat, h: int, w: int, b: int, v: int) -> None:
    output = predict(network, inputs(h, w, b, v))
    g, d = v * h * w, SMALL.depth_candidates
    shapes = {field.name: tuple(getattr(output, field.name).shape) for field in tensors(output)}
    assert shapes == {
        "means": (b, g, 3),
        "scales": (b, g, 3),
        "quats": (b, g, 4),
        "opacities": (b, g),
        "sh": (b, g, 1, 3),
        "depth": (b, v, h, w),
        "confidence": (b, v, h, w),
        "depth_logits": (b, v, d, h // 4, w // 4),
        "inverse_depths": (b, v, d),
    }
    assert all(bool(torch.isfinite(getattr(output, name)).all()) for name in shapes)
    assert len(output.scene(b - 1)) == g


def test_numbers_stay_in_their_ranges(shaken: MVSplat) -> None:
    output = predict(shaken, inputs())
    assert output.depth.min() >= 1.0 / (NEARER if shaken.config.nearer_candidates else 1) - 1e-6
    assert output.depth.max() <= 10.0 + 1e-4
    for part in (output.opacities, output.confidence):
        assert part.min() >= 0
        assert part.max() <= 1 + 1e-6
    torch.testing.assert_close(output.quats.norm(dim=-1), torch.ones(1, 2 * 32 * 48))
    assert output.scales.min() > 0


def test_it_is_small() -> None:
    assert sum(parameter.numel() for parameter in MVSplat(SMALL).parameters()) <= 12_000_000


def test_means_are_the_depths_seen_through_the_pixels(network: MVSplat) -> None:
    given = inputs()
    output = predict(network, given)
    points = unproject(output.depth, given[2], given[1]).flatten(1, 3)
    torch.testing.assert_close(output.means, points, rtol=1e-4, atol=1e-4)  # offsets start at zero


def test_colours_start_as_the_pixels_and_sizes_as_their_footprints(network: MVSplat) -> None:
    images, c2w, K, near_far = inputs()
    output = predict(network, (images, c2w, K, near_far))
    colour = 0.5 + 0.28209479177387814 * output.sh[0, :, 0]
    torch.testing.assert_close(colour, images[0].flatten(2).transpose(1, 2).reshape(-1, 3))
    footprint = output.depth / K[:, :, :1, :1].squeeze(-1)[..., None].reshape(1, 2, 1, 1)
    ratio = output.scales.view(1, 2, 32, 48, 3)[:, 0] / footprint[:, 0, ..., None]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.6), rtol=0.02, atol=0)


def test_scenes_of_a_batch_do_not_mix(shaken: MVSplat) -> None:
    one, two = inputs(seed=1), inputs(seed=2)
    both = predict(shaken, tuple(torch.cat(pair) for pair in zip(one, two, strict=True)))  # type: ignore[arg-type]
    for index, alone in enumerate((one, two)):
        output = predict(shaken, alone)
        for field in tensors(output):
            expected, found = getattr(output, field.name)[0], getattr(both, field.name)[index]
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_order_of_the_views_does_not_matter(shaken: MVSplat) -> None:
    given = inputs()
    forward = predict(shaken, given)
    backward = predict(shaken, tuple(part.flip(1) for part in given))  # type: ignore[arg-type]
    torch.testing.assert_close(backward.depth.flip(1), forward.depth, rtol=1e-3, atol=1e-4)
    half = forward.means.shape[1] // 2
    torch.testing.assert_close(backward.means[:, half:], forward.means[:, :half], rtol=1e-3, atol=1e-4)


def test_moving_the_world_moves_the_gaussians(shaken: MVSplat) -> None:
    images, c2w, K, near_far = inputs()
    motion = pose(1.0, -0.7, (3.0, -2.0, 1.0)).float()
    still, moved = predict(shaken, (images, c2w, K, near_far)), predict(shaken, (images, motion @ c2w, K, near_far))
    torch.testing.assert_close(moved.depth, still.depth, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(moved.means, still.means @ motion[:3, :3].mT + motion[:3, 3], rtol=1e-3, atol=2e-3)
    turned = quaternion_product(quaternions(motion[:3, :3]).expand_as(still.quats), still.quats)
    assert ((moved.quats * turned).sum(-1).abs() - 1).abs().max() < 1e-3


def test_a_larger_unit_of_length_changes_only_lengths(shaken: MVSplat) -> None:
    images, c2w, K, near_far = inputs()
    large = c2w.clone()
    large[..., :3, 3] *= 20
    metres, steps = predict(shaken, (images, c2w, K, near_far)), predict(shaken, (images, large, K, near_far * 20))
    for name, factor in (
        ("depth", 20),
        ("means", 20),
        ("scales", 20),
        ("opacities", 1),
        ("quats", 1),
        ("sh", 1),
        ("depth_logits", 1),
    ):
        torch.testing.assert_close(getattr(steps, name), getattr(metres, name) * factor, rtol=1e-3, atol=1e-3 * factor)


def test_gradients_reach_every_parameter_and_the_inputs(shaken: MVSplat) -> None:
    images, c2w, K, near_far = inputs(32, 32)
    images.requires_grad_()
    c2w.requires_grad_()
    shaken.zero_grad()
    output = shaken(images, c2w, K, near_far)
    parts = (output.means, output.scales, output.quats, output.opacities, output.sh, output.depth, output.confidence)
    torch.manual_seed(5)
    sum((part * torch.randn_like(part)).sum() for part in parts).backward()
    for name, parameter in shaken.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert parameter.grad.abs().max() > 0, name
    for given in (images, c2w):
        assert given.grad is not None
        assert bool(torch.isfinite(given.grad).all())
        assert given.grad.abs().max() > 0


def test_training_starts_in_every_part(network: MVSplat) -> None:
    """The last layers start at zero and block the others' gradient for one step, but not every step may be zero."""
    network.zero_grad()
    output = network(*inputs(32, 32))
    (
        output.means.square().mean() + output.opacities.mean() + output.sh.square().mean() + output.scales.mean()
    ).backward()
    heads = network.depth_predictor
    for layer in (heads.depth_head_lowres[-1], heads.to_disparity[-1], heads.to_gaussians[-1]):
        assert layer.weight.grad.abs().max() > 0
    assert heads.match_scale.grad.abs().min() > 0


def textured_plane(h: int, w: int, c2w: Tensor, K: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    """Images [V, 3, h, w] and depths [V, h, w] of the plane z = 3 + slope * x, painted with two sizes of blots."""
    torch.manual_seed(4)
    paint = sum(
        F.interpolate(torch.rand(1, 3, n, n), (600, 600), mode="bicubic") * share
        for n, share in ((150, 0.6), (20, 0.4))
    )
    images, depths = [], []
    for camera, intrinsics in zip(c2w, K, strict=True):
        direction = rays(intrinsics, (h, w)) @ camera[:3, :3].mT
        depth = (3 + slope * camera[0, 3] - camera[2, 3]) / (direction[..., 2] - slope * direction[..., 0])
        point = camera[:3, 3] + direction * depth[..., None]
        images.append(F.grid_sample(paint, point[None, ..., :2] / 4, align_corners=False, padding_mode="reflection")[0])
        depths.append(depth)
    return torch.stack(images).clamp(0, 1), torch.stack(depths)


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_an_untrained_network_is_a_plane_sweep(network: MVSplat, slope: float) -> None:
    h, w = 96, 128
    c2w = torch.stack([torch.eye(4), pose(-0.08, 0.02, (0.4, 0.05, 0.1)).float()])
    K = torch.tensor([[0.9 * w, 0, 0.52 * w], [0, 0.85 * w, 0.48 * h], [0, 0, 1]]).repeat(2, 1, 1)
    images, depth = textured_plane(h, w, c2w, K, slope)
    output = predict(network, (images[None], c2w[None], K[None], torch.tensor([[[1.0, 12.0]] * 2])))
    errors, guesses = [], []
    for view in (0, 1):
        pixels, _ = project(unproject(depth[view], K[view], c2w[view]).reshape(-1, 3), K[1 - view], c2w[1 - view])
        seen = ((pixels > 8) & (pixels < torch.tensor([w - 8, h - 8]))).all(-1).view(h, w)
        truth = 1 / depth[view][seen]
        errors.append((1 / output.depth[0, view][seen] - truth).abs() / truth)
        guesses.append((truth.median() - truth).abs() / truth)
    assert torch.cat(errors).mean() < 0.02
    assert (
        torch.cat(errors).mean() < torch.cat(guesses).mean()
    )  # the best constant of each view, which only the truth knows


@pytest.mark.parametrize(
    ("index", "change", "words"),
    [
        (0, lambda x: x[:, :1], "images have shape"),
        (0, lambda x: x[0], "images have shape"),
        (0, lambda x: x[:, :, :1], "images have shape"),
        (0, lambda x: x[..., :40], "40 x 32 pixels"),
        (1, lambda x: x[:, :, :3], "c2w has shape"),
        (2, lambda x: x[:, :1], "K has shape"),
        (3, lambda x: x[..., :1], "near_far has shape"),
        (3, lambda x: x.flip(-1), "0 < near < far"),
        (3, lambda x: x * float("nan"), "0 < near < far"),
        (3, lambda x: x - 2, "0 < near < far"),
    ],
)
def test_bad_input_is_refused(network: MVSplat, index: int, change: object, words: str) -> None:
    given = list(inputs())
    given[index] = change(given[index])  # type: ignore[operator]
    with pytest.raises(InputError) as caught:
        network(*given)
    assert words in caught.value.why


def test_quaternions_of_rotations() -> None:
    turns = torch.stack(
        [pose(a, b, (0, 0, 0))[:3, :3] for a in (0.0, 1.5, 3.14159265, -2.0) for b in (0.0, 0.7, 3.14159265)]
    )
    turns = torch.cat([turns, turns @ torch.diag(torch.tensor([-1.0, -1.0, 1.0]).double())])
    w, x, y, z = quaternions(turns).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - z * w),
        2 * (x * z + y * w),
        2 * (x * y + z * w),
        1 - 2 * (x * x + z * z),
    ]
    rows += [2 * (y * z - x * w), 2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]
    torch.testing.assert_close(torch.stack(rows, -1).unflatten(-1, (3, 3)), turns, rtol=0, atol=1e-9)


def test_options_work_alone() -> None:
    """Each of our changes to upstream can be taken by itself."""
    lean = replace(
        RE10K, cnn_channels=(8, 8, 8), feature_channels=16, feed_forward_channels=16, transformer_blocks=1,
        depth_candidates=8, cost_channels=32, depth_head_channels=8, upsampled_channels=8, guide_channels=8,
        disparity_channels=8, gaussian_channels=8,
    )  # fmt: skip
    options = [
        {}, {"depth_convention": "z"}, {"patch_radius": 1}, {"unit_features": True}, {"peak_radius": 2},
        {"guided_upsampling": True}, {"relative_disparity": True}, {"pixel_colour": True},
        {"refine_stride": 2, "refine_levels": 4}, {"sh_degree": 1},
    ]  # fmt: skip
    for option in options:
        output = predict(MVSplat(replace(lean, **option)), inputs(16, 32))  # type: ignore[arg-type]
        assert bool(torch.isfinite(output.means).all()), option
        assert output.depth.shape == (1, 2, 16, 32)
