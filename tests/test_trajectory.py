"""Camera paths: the released interpolation to 1e-5, and the bounds that keep the other paths near the inputs."""

import math
from pathlib import Path

import pytest
import torch

from stages.errors import InputError
from stages.geometry import project
from stages.scene import Cameras
from stages.trajectory import dolly, eased_times, interpolate, orbit, spiral, through

SIZE = (48, 64)


def turn_y(degrees: float) -> torch.Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def two_cameras(dtype: torch.dtype = torch.float32) -> Cameras:
    """Inputs a unit apart that both look at a point near (0, 0, 3)."""
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[0, :3, :3], c2w[1, :3, :3] = turn_y(9), turn_y(-9)
    c2w[0, :3, 3], c2w[1, :3, 3] = torch.tensor([-0.5, 0.02, 0.0]), torch.tensor([0.5, -0.02, 0.1])
    K = torch.tensor([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]).repeat(2, 1, 1)
    K[1, 0, 0] = 70
    return Cameras(c2w.to(dtype), K.to(dtype), SIZE)


def along(cameras: Cameras, frames: int = 49) -> Cameras:
    return interpolate(*cameras.c2w, *cameras.K, cameras.size, frames)


@pytest.mark.parametrize("case", ["converging", "identity_to_rot", "parallel", "parallel_roll", "diverging"])
def test_equals_the_released_interpolation(case: str, upstream: Path) -> None:
    from safetensors.torch import load_file

    golden = load_file(upstream / "trajectory_io.safetensors")
    path = interpolate(golden[f"{case}.a"], golden[f"{case}.b"], golden["K0"], golden["K1"], SIZE)
    torch.testing.assert_close(path.c2w, golden[f"{case}.out"], atol=1e-5, rtol=0)
    torch.testing.assert_close(path.K, golden["K.out"], atol=1e-5, rtol=0)
    torch.testing.assert_close(eased_times(49).float(), golden["t_eased"], atol=1e-6, rtol=0)


def test_a_frame_of_the_released_interpolation() -> None:
    """The middle of upstream's `converging` case, for machines without its file."""
    a = torch.tensor(
        [[0.9887, -0.0115, -0.1493, -0.5], [0.0085, 0.9998, -0.0207, 0.02], [0.1495, 0.0192, 0.9886, 0.0], [0, 0, 0, 1]]
    )
    b = torch.tensor(
        [[0.9687, 0.0161, 0.2476, 0.6], [-0.0235, 0.9994, 0.0272, -0.05], [-0.2471, -0.0322, 0.9685, 0.1], [0, 0, 0, 1]]
    )
    path = interpolate(a, b, torch.eye(3), torch.eye(3), SIZE)
    torch.testing.assert_close(
        path.c2w[24, :3, 3], torch.tensor([0.037049, -0.016710, 0.105191]), atol=1e-3, rtol=0
    )  # a, b to 4 digits


def test_ends_are_the_inputs_and_intrinsics_are_linear() -> None:
    cameras = two_cameras()
    path = along(cameras, 5)
    torch.testing.assert_close(path.c2w[[0, -1]], cameras.c2w, atol=1e-6, rtol=0)
    assert path.K[:, 0, 0].tolist() == pytest.approx([60 + 10 * t for t in eased_times(5).tolist()])
    assert path.size == SIZE
    assert len(path) == 5


def test_the_same_pose_twice_stays_put() -> None:
    pose = two_cameras().c2w[0]
    path = interpolate(pose, pose, torch.eye(3), torch.eye(3), SIZE, 7)
    torch.testing.assert_close(path.c2w, pose.expand(7, 4, 4), atol=1e-6, rtol=0)


def test_straight_up_parallel_views() -> None:
    """Look vectors along the world's z and y, where one fallback axis of the pivot frame is itself parallel."""
    for angle_axis in (torch.eye(3), torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])):
        a, b = torch.eye(4), torch.eye(4)
        a[:3, :3] = b[:3, :3] = angle_axis
        b[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
        path = interpolate(a, b, torch.eye(3), torch.eye(3), SIZE, 3)
        torch.testing.assert_close(path.c2w[1, :3, 3], b[:3, 3] / 2)


def test_dtypes_mix() -> None:
    cameras = two_cameras()
    path = interpolate(cameras.c2w[0].double(), cameras.c2w[1], cameras.K[0], cameras.K[1].double(), SIZE, 3)
    assert path.c2w.dtype == path.K.dtype == torch.float64
    assert along(cameras).c2w.dtype == torch.float32


@pytest.mark.parametrize("path", [orbit, spiral, dolly])
def test_paths_stay_near_the_inputs_and_on_the_subject(path) -> None:  # type: ignore[no-untyped-def]
    cameras, depth = two_cameras(), 3.0
    middle = along(cameras, 3)
    result = path(cameras, depth, 33)
    assert len(result) == 33
    assert result.size == SIZE
    assert result.c2w.dtype == torch.float32
    torch.testing.assert_close(result.c2w[0], middle.c2w[1], atol=1e-5, rtol=0)
    travel = (result.c2w[:, :3, 3] - middle.c2w[1, :3, 3]).norm(dim=-1)
    assert 0.1 < travel.max() < 0.25 * depth
    pivot = (middle.c2w[1, :3, 3] + depth * middle.c2w[1, :3, 2])[None]
    for c2w, K in zip(result.c2w, result.K, strict=True):
        pixel, z = project(pivot, K, c2w)
        assert z > 0
        torch.testing.assert_close(pixel[0], K[:2, 2], atol=1e-3, rtol=0)


def test_orbit_reaches_both_inputs_and_closes() -> None:
    cameras = two_cameras()
    centre = orbit(cameras, 3.0, 129).c2w[:, :3, 3]
    assert centre[:, 0].min() == pytest.approx(-0.5, abs=0.03)
    assert centre[:, 0].max() == pytest.approx(0.5, abs=0.03)
    torch.testing.assert_close(centre[0], centre[-1], atol=1e-5, rtol=0)
    assert centre[32, 0] > 0.3, "sets out towards the second input"


def test_inputs_behind_one_another() -> None:
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, 2, 3] = 1.0
    cameras = Cameras(c2w, two_cameras().K, SIZE)
    for path in (orbit, spiral, dolly):
        assert torch.isfinite(path(cameras, 4.0, 9).c2w).all()


def test_dolly_moves_straight_ahead() -> None:
    path = dolly(two_cameras(), 3.0)
    step = path.c2w[-1, :3, 3] - path.c2w[0, :3, 3]
    torch.testing.assert_close(step, 0.6 * path.c2w[0, :3, 2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("depth", [0.0, -1.0, math.nan, math.inf])
def test_bad_depth(depth: float) -> None:
    with pytest.raises(InputError, match="depth"):
        orbit(two_cameras(), depth)


def test_bad_counts() -> None:
    with pytest.raises(InputError, match="0 frames"):
        along(two_cameras(), 0)
    with pytest.raises(InputError, match="1 input cameras"):
        dolly(two_cameras()[:1], 1.0)


def test_a_path_through_given_cameras() -> None:
    ends = along(two_cameras(torch.float64), 5)
    knots = ends[[0, 1, 4]]
    path = through(knots, [0, 4, 6])
    assert len(path) == 7
    assert torch.equal(path.c2w[[0, 4, 6]], knots.c2w)
    assert torch.equal(path.K[[0, 4, 6]], knots.K)
    steps = path.c2w[:, :3, 3].diff(dim=0).norm(dim=1)
    torch.testing.assert_close(steps[:4], steps[0].expand(4), rtol=0.02, atol=0)
    torch.testing.assert_close(steps[4:], steps[5].expand(2), rtol=0.02, atol=0)
    for places in ([1, 4, 6], [0, 4, 4], [0, 6]):
        with pytest.raises(InputError, match="frames"):
            through(knots, places)
