"""What must not change a figure (batch, threads, PNG instead of memory), and what must: damage done to clips."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.evaluate.frame_metrics import Instruments, open_instruments
from stages.files.images import as_in_png, read_image, write_png
from stages.metrics.fvd import clip_features, frechet_distance
from stages.metrics.i3d import I3D, MIN_FRAMES
from stages.metrics.network_files import load

TOLERANCE = 1e-5


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def frames() -> Tensor:
    """[3, 3, 64, 96]: a truth and two made frames, as 8-bit images hold them."""
    generator = torch.Generator().manual_seed(0)
    truth = F.interpolate(torch.rand(1, 3, 16, 24, generator=generator), (64, 96), mode="bicubic").clamp(0, 1)
    return as_in_png(torch.cat([truth, truth + 0.1 * torch.randn(2, 3, 64, 96, generator=generator)]))


def figures(instruments: Instruments, candidates: Tensor, truth: Tensor) -> Tensor:
    """[metrics, candidates]."""
    return torch.stack([metric(candidates, truth) for metric in instruments.metrics.values() if metric is not None])


@pytest.mark.usefixtures("_threads")
def test_frames_measure_the_same_in_any_batch_with_any_threads_and_from_png(
    networks: Path, frames: Tensor, tmp_path: Path
) -> None:
    instruments = open_instruments(networks, torch.device("cpu"))
    truth, made = frames[0], frames[1:]
    torch.set_num_threads(1)
    together = figures(instruments, made, truth)
    assert together.shape == (4, 2)
    alone = torch.cat([figures(instruments, made[index : index + 1], truth) for index in (0, 1)], 1)
    torch.testing.assert_close(alone, together, rtol=0, atol=TOLERANCE)
    torch.set_num_threads(2)
    torch.testing.assert_close(figures(instruments, made, truth), together, rtol=0, atol=TOLERANCE)
    for index, image in enumerate(frames):
        write_png(tmp_path / f"{index}.png", image)
    read = torch.stack([read_image(tmp_path / f"{index}.png") for index in range(3)])
    torch.testing.assert_close(figures(instruments, read[1:], read[0]), together, rtol=0, atol=TOLERANCE)


@pytest.mark.usefixtures("_threads")
def test_a_clip_has_the_same_features_with_any_threads(networks: Path, frames: Tensor) -> None:
    network = I3D(load("i3d", networks))
    clip = frames[torch.arange(MIN_FRAMES) % 3]
    torch.set_num_threads(1)
    one = clip_features(network, clip)
    torch.set_num_threads(2)
    torch.testing.assert_close(clip_features(network, clip), one, rtol=0, atol=TOLERANCE * float(one.abs().max()))


def blurred(clip: Tensor, factor: int) -> Tensor:
    return F.interpolate(F.avg_pool2d(clip, factor), clip.shape[2:], mode="bilinear", align_corners=False)


def noisy(clip: Tensor, sigma: float) -> Tensor:
    return (clip + sigma * torch.randn(clip.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)


def shuffled(clip: Tensor, count: int) -> Tensor:
    """`count` frames from the start on in reverse order of pairs: 0 none, len all."""
    order = list(range(len(clip)))
    order[:count] = order[:count:2][::-1] + order[1:count:2]
    return clip[order]


@pytest.mark.parametrize(
    ("damage", "levels"), [(blurred, (4, 8, 16)), (noisy, (0.05, 0.15, 0.3)), (shuffled, (4, MIN_FRAMES))]
)
def test_fvd_grows_with_damage(networks: Path, data: Path, damage, levels: tuple[float, ...]) -> None:  # type: ignore[no-untyped-def]
    network, clips = I3D(load("i3d", networks)), []
    for scene in ("vs_Playground", "vs_counter", "vs_santorini"):
        paths = sorted((data / "posed" / "val" / scene / "images").iterdir())[: 2 * MIN_FRAMES : 2]
        clips.append(torch.stack([read_image(path)[:, :224, :224] for path in paths]))
    true = torch.stack([clip_features(network, clip) for clip in clips])
    assert frechet_distance(true, true) == pytest.approx(0, abs=1e-3)
    distances = [0.0]
    for level in levels:
        distances.append(
            frechet_distance(torch.stack([clip_features(network, damage(clip, level)) for clip in clips]), true)
        )
    assert distances == sorted(distances)
    assert min(after - before for before, after in pairwise(distances)) > 1
