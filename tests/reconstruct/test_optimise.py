"""Refinement brings a wrong scene nearer to its pictures, and a run that is resumed ends as if it had never stopped."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stages.reconstruct import Settings, State, Targets, gather, load_checkpoint, reconstruct, save_checkpoint
from stages.reconstruct.optimise import choose, move_cameras, start, take_step
from stages.reconstruct.picture_loss import picture_loss, ssim_map
from stages.scene import Cameras, Clip, Gaussians, Views, colours_to_sh
from stages.splat import draw

SIZE = (40, 48)
QUICK = Settings(steps=60, gaussians=3000, adapt_every=20)


def cameras(count: int) -> Cameras:
    c2w = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    c2w[:, 0, 3] = torch.linspace(-0.3, 0.3, count, dtype=torch.float64)
    K = torch.tensor([[45.0, 0, 24], [0, 45, 20], [0, 0, 1]], dtype=torch.float64).expand(count, 3, 3)
    return Cameras(c2w, K, SIZE)


@pytest.fixture(scope="module")
def truth() -> Gaussians:
    """A bumpy, coloured wall two units away."""
    g = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(-1.1, 1.1, 36), torch.linspace(-1.5, 1.5, 44), indexing="ij")
    means = torch.stack([x, y, 2 + 0.2 * torch.sin(3 * x) * torch.cos(2 * y)], -1).reshape(-1, 3)
    count = len(means)
    patches = torch.rand(1, 3, 9, 11, generator=g)
    colour = torch.nn.functional.interpolate(patches, (36, 44), mode="bicubic")[0].flatten(1).T.clamp(0, 1)
    return Gaussians(
        means,
        torch.full((count, 3), 0.035),
        torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        torch.full((count,), 0.9),
        colours_to_sh(colour),
    )


@pytest.fixture(scope="module")
def perturbed(truth: Gaussians) -> Gaussians:
    g = torch.Generator().manual_seed(1)
    noise = lambda like, by: like + by * torch.randn(like.shape, generator=g)  # noqa: E731
    return Gaussians(
        noise(truth.means, 0.02),
        truth.scales * 1.3,
        noise(truth.quats, 0.1),
        truth.opacities * 0.7,
        noise(truth.sh, 0.4),
    )


@pytest.fixture(scope="module")
def targets(truth: Gaussians) -> Targets:
    path = cameras(7)
    drawing = draw(truth, path)
    ends = [0, 6]
    return gather(Views(drawing.image[ends], path[ends]), Clip(drawing.image, path, drawing.alpha.clamp(0, 1), leap=0))


def quality(gaussians: Gaussians, targets: Targets) -> float:
    error = (draw(gaussians, targets.cameras).image - targets.images).square().mean()
    return float(-10 * torch.log10(error))


def test_refinement_brings_the_scene_nearer_to_every_target(perturbed: Gaussians, targets: Targets) -> None:
    told = []
    result = reconstruct(perturbed, targets, QUICK, progress=lambda *facts: told.append(facts))
    assert quality(result.gaussians, targets) > quality(perturbed, targets) + 5
    assert [step for step, *_ in told] == list(range(1, 61))
    assert told[-1][2] < told[0][2]
    assert len(result.gaussians) <= QUICK.gaussians
    assert torch.equal(result.cameras.c2w, targets.cameras.c2w)


def test_a_view_that_was_never_shown_gets_better_too(truth: Gaussians, perturbed: Gaussians, targets: Targets) -> None:
    between = cameras(6)[[1, 2, 3, 4]]
    held_out = Targets(draw(truth, between).image, between, torch.ones(4, *SIZE), 4)
    result = reconstruct(perturbed, targets, QUICK)
    assert quality(result.gaussians, held_out) > quality(perturbed, held_out) + 4


def test_a_run_that_goes_on_from_a_checkpoint_ends_bit_equal(
    perturbed: Gaussians, targets: Targets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.reconstruct.optimise.SAVE_EVERY", 7)
    settings = Settings(steps=24, gaussians=3000, adapt_every=10, refine_poses=True)
    whole = reconstruct(perturbed, targets, settings)
    path = tmp_path / "state.safetensors"

    class Killed(Exception):
        pass

    def save(state: State) -> None:
        save_checkpoint(path, state, "this run")
        if state.step == 14:
            raise Killed

    with pytest.raises(Killed):
        reconstruct(perturbed, targets, settings, save=save)
    state = load_checkpoint(path, "this run", torch.device("cpu"))
    assert state is not None
    assert state.step == 14
    resumed = reconstruct(perturbed, targets, settings, state)
    for name in ("means", "scales", "quats", "opacities", "sh"):
        assert torch.equal(getattr(whole.gaussians, name), getattr(resumed.gaussians, name)), name
    assert torch.equal(whole.cameras.c2w, resumed.cameras.c2w)


def test_a_checkpoint_of_another_run_is_not_taken_up(perturbed: Gaussians, targets: Targets, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "state", start(perturbed, targets, 3000), "another run")
    assert load_checkpoint(tmp_path / "state", "this run", torch.device("cpu")) is None
    assert load_checkpoint(tmp_path / "absent", "this run", torch.device("cpu")) is None


def test_photographs_are_believed_over_frames(truth: Gaussians, targets: Targets) -> None:
    """Frames that are all one shade darker than the photographs hardly darken the photographs."""
    images = targets.images.clone()
    images[2:] -= 0.2
    result = reconstruct(truth, Targets(images, targets.cameras, targets.weight, 2), QUICK)
    drawn = draw(result.gaussians, targets.cameras).image
    photographs = (drawn[:2] - images[:2]).abs().mean()
    frames = (drawn[2:] - images[2:]).abs().mean()
    assert photographs < 0.5 * frames


def test_a_frame_that_disagrees_does_little_harm(perturbed: Gaussians, targets: Targets) -> None:
    images = targets.images.clone()
    images[4] = images[4].flip(-1)
    wrong = Targets(images, targets.cameras, targets.weight, 2)
    others = Targets(*(x[[0, 1, 2, 3, 5, 6]] for x in (targets.images, targets.cameras, targets.weight)), 2)
    believing = Settings(steps=60, gaussians=3000, adapt_every=20, tolerance=1e9)
    robust, trusting = (reconstruct(perturbed, wrong, settings) for settings in (QUICK, believing))
    assert int(robust.losses.argmax()) == 4
    assert quality(robust.gaussians, others) > quality(trusting.gaussians, others) + 0.2


def test_refined_poses_undo_a_shift(truth: Gaussians, targets: Targets) -> None:
    c2w = targets.cameras.c2w.clone()
    c2w[2:, 1, 3] += 0.02
    shifted = Targets(targets.images, Cameras(c2w, targets.cameras.K, SIZE), targets.weight, 2)
    result = reconstruct(truth, shifted, Settings(steps=80, gaussians=3000, refine_poses=True))
    assert torch.equal(result.cameras.c2w[:2], c2w[:2])
    point = torch.tensor(
        [0.0, 0, 2, 1], dtype=torch.float64
    )  # a turn can undo a shift: what counts is where the wall appears
    seen, before, after = (torch.linalg.inv(c[2:]) @ point for c in (targets.cameras.c2w, c2w, result.cameras.c2w))
    assert (after - seen)[:, 1].abs().mean() < 0.4 * (before - seen)[:, 1].abs().mean()


def test_the_unit_of_the_scene_does_not_matter(perturbed: Gaussians, targets: Targets) -> None:
    unit = 1e-3
    small = replace(perturbed, means=perturbed.means * unit, scales=perturbed.scales * unit)
    c2w = targets.cameras.c2w.clone()
    c2w[:, :3, 3] *= unit
    near = Targets(targets.images, Cameras(c2w, targets.cameras.K, SIZE), targets.weight, 2)
    settings = Settings(steps=6, gaussians=3000)
    as_given, scaled = reconstruct(perturbed, targets, settings), reconstruct(small, near, settings)
    assert len(as_given.gaussians) == pytest.approx(len(scaled.gaussians), rel=0.05)
    assert torch.allclose(as_given.losses, scaled.losses, rtol=0.1, equal_nan=True)


def test_the_number_of_gaussians_stays_in_its_budget(perturbed: Gaussians, targets: Targets) -> None:
    settings = Settings(steps=30, gaussians=400, adapt_every=5)
    state = start(perturbed, targets, settings.gaussians)
    first = len(state.distances)
    assert first <= 400
    while state.step < settings.steps:
        take_step(state, targets, settings)
        assert len(state.distances) <= 400
        assert {len(value) for name, value in state.parameters.items() if name != "poses"} == {len(state.distances)}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda_the_scene_gets_as_near(perturbed: Gaussians, targets: Targets) -> None:
    on_cpu = reconstruct(perturbed, targets, QUICK)
    on_gpu = reconstruct(perturbed.to("cuda"), targets, QUICK)
    assert on_gpu.gaussians.means.is_cuda
    assert abs(quality(on_gpu.gaussians.to("cpu"), targets) - quality(on_cpu.gaussians, targets)) < 0.5


def test_the_render_of_the_prior_is_nothing_to_learn_from(targets: Targets) -> None:
    views, frames = Views(targets.images[:2], targets.cameras[:2]), Clip(targets.images[2:], targets.cameras[2:])
    rendered, repaired = gather(views, frames), gather(views, replace(frames, leap=0))
    assert (len(rendered), rendered.counted) == (7, 2)
    assert (len(repaired), repaired.counted) == (7, 7)
    assert choose(0, rendered, Settings(views=3)) == [0, 1]


def some(photographs: int, frames: int) -> Targets:
    count = photographs + frames
    return Targets(torch.zeros(count, 3, *SIZE), cameras(count), torch.ones(count, *SIZE), photographs)


def test_every_frame_is_drawn_once_before_any_is_drawn_again() -> None:
    drawn = [choose(step, some(2, 10), Settings(views=3)) for step in range(5)]
    assert [views[0] for views in drawn] == [0, 1, 0, 1, 0]
    assert sorted(view for views in drawn for view in views[1:]) == list(range(2, 12))


def test_without_frames_only_photographs_are_drawn() -> None:
    assert [choose(step, some(5, 0), Settings(views=2)) for step in range(3)] == [[0, 1], [2, 3], [4, 0]]
    assert choose(0, some(2, 0), Settings(views=3)) == [0, 1]


def test_poses_turn_and_shift_a_camera_in_its_own_axes() -> None:
    pose = torch.tensor([[0.0, 0.0, torch.pi / 2, 0.5, 0.0, 0.0]], dtype=torch.float64)
    c2w = move_cameras(cameras(1), pose, 2.0).c2w[0]
    assert torch.allclose(c2w[:3, 0], torch.tensor([0.0, 1, 0], dtype=torch.float64), atol=1e-9)
    assert torch.allclose(c2w[:3, 3], torch.tensor([0.7, 0, 0], dtype=torch.float64), atol=1e-9)


def test_the_gradient_of_ssim_is_that_of_its_value() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = (torch.rand(1, 2, 13, 14, generator=g, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: ssim_map(x, b), (a.requires_grad_(),))


def test_the_loss_is_that_of_3dgs(targets: Targets) -> None:
    a, b = targets.images[:1].double(), targets.images[1:2].double()
    from stages.metrics.image import ssim

    inner = ssim_map(a, b)[..., 5:-5, 5:-5].mean()
    assert abs(float(inner - ssim(a, b)[0])) < 2e-3  # the metric takes the sample covariance
    assert float(picture_loss(a, a, torch.ones(1, *SIZE))) == pytest.approx(0, abs=1e-12)
    half = torch.zeros(1, *SIZE)
    half[..., :24] = 1
    left, right = picture_loss(a, b, half), picture_loss(a, b, 1 - half)
    assert float(left + right) == pytest.approx(float(picture_loss(a, b, torch.ones(1, *SIZE))), rel=1e-9)


def test_a_plain_border_of_the_photographs_counts_nothing() -> None:
    images = torch.full((2, 3, 16, 24), 0.5)
    images[:, :, :3], images[:, :, -3:] = 0.0, 0.0
    cameras = Cameras(torch.eye(4).repeat(2, 1, 1), torch.eye(3).repeat(2, 1, 1), (16, 24))
    cameras.c2w[1, 0, 3] = 1
    middle = Cameras(torch.eye(4)[None], torch.eye(3)[None], (16, 24))
    middle.c2w[0, 0, 3] = 0.5
    targets = gather(Views(images, cameras), Clip(images[:1], middle, leap=0))
    assert targets.weight.shape == (3, 16, 24)
    assert float(targets.weight[:, :3].max()) == 0
    assert float(targets.weight[:, 3:-3].min()) > 0
