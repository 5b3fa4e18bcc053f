"""Training of the prior: the losses mean what they say, a killed run resumes to the same weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Generator

from stages.errors import InputError
from stages.prior.loss import covisible, inverse_depth_error, picture_error, plane_cross_entropy
from stages.prior.recipe import Recipe
from stages.prior.train import Trainer, draw_batch
from stages.worlds import load_textures
from stages.worlds.shards import write_shard

ONES = torch.ones(1, 2, 4, 4)
NEAR_FAR = torch.tensor([[[1.0, 10.0], [2.0, 5.0]]])


def test_inverse_depth_error_counts_planes() -> None:
    truth = torch.full((1, 2, 4, 4), 4.0)
    assert inverse_depth_error(truth, truth, NEAR_FAR, 64, ONES) == 0
    plane = (1 - 0.1) / 63
    off = 1 / (1 / truth[:, :1] + 3 * plane)  # three planes away in the first view
    error = inverse_depth_error(torch.cat([off, truth[:, 1:]], 1), truth, NEAR_FAR, 64, ONES)
    assert error == pytest.approx((3 - 0.5) / 2, rel=1e-4)  # Huber beyond 1: |e| - 0.5, the second view adds nothing


def test_cross_entropy_is_least_at_the_true_plane() -> None:
    truth = 1 / torch.full((1, 2, 2, 2), 0.1 + 0.9 * 20.25 / 63)  # between planes 20 and 21 of the first view
    right = torch.full((1, 2, 64, 2, 2), -30.0)
    right[:, :, 20], right[:, :, 21] = torch.tensor(0.75).log(), torch.tensor(0.25).log()
    entropy = -(0.75 * torch.tensor(0.75).log() + 0.25 * torch.tensor(0.25).log())
    first = plane_cross_entropy(right[:, :1], truth[:, :1], NEAR_FAR[:, :1], ONES[:, :1, :2, :2])
    assert first == pytest.approx(float(entropy), abs=1e-3)
    assert plane_cross_entropy(torch.zeros(1, 1, 64, 2, 2), truth[:, :1], NEAR_FAR[:, :1], ONES[:, :1, :2, :2]) == pytest.approx(
        torch.tensor(64.0).log().item(), rel=1e-4
    )


def test_covisible_finds_what_leaves_the_frame_and_what_is_hidden() -> None:
    """A wall at z = 2 and a post at z = 1 in the middle; the second camera stands 0.5 to the right."""
    K = torch.tensor([[[32.0, 0, 32], [0, 32, 8], [0, 0, 1]]])
    c2w = torch.eye(4).repeat(1, 2, 1, 1)
    c2w[:, 1, 0, 3] = 0.5
    depth = torch.full((1, 2, 16, 64), 2.0)
    depth[0, 0, :, 30:34] = 1.0  # the post moves by 32 * 0.5 / 1 = 16 px to the left, the wall by 8
    depth[0, 1, :, 14:18] = 1.0
    seen = covisible(depth, c2w, K)[0]
    assert seen[0, :, :8].max() == 0, "the left edge leaves the second frame"
    assert seen[0, :, 8:22].min() == 1
    assert seen[0, :, 30:].min() == 1
    assert seen[0, :, 23:25].max() == 0, "hidden behind the post in the second view"
    assert seen[1, :, -7:].max() == 0, "the right edge of the second view lies outside the first"


def test_picture_error_is_zero_only_for_equal_pictures() -> None:
    picture = torch.rand(2, 3, 24, 24, generator=Generator().manual_seed(0))
    assert picture_error(picture, picture) == pytest.approx(0, abs=1e-6)
    assert picture_error(picture, picture.flip(-1)) > 0.2


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds")
    textures = load_textures(None, Generator().manual_seed(0), procedural=6)
    write_shard(folder, textures, seed=0, number=0, scenes=2, size=(128, 192))
    return folder


def test_augmentation_keeps_geometry(worlds: Path) -> None:
    """Mirrored and swapped batches still have the depth that their cameras explain."""
    from stages.geometry import project, unproject

    for step in range(6):
        batch = draw_batch(sorted(worlds.iterdir()), Recipe(batch=1), step)
        c2w, K = batch.c2w[0].double(), batch.K[0].double()
        points = unproject(batch.depth[0, 0].double(), K, c2w[0]).reshape(-1, 3)
        pixels, z = project(points, K, c2w[1])
        h, w = batch.depth.shape[-2:]
        x, y = (pixels - 0.5).round().long().unbind(-1)
        seen = (z > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
        ratio = batch.depth[0, 1][y[seen], x[seen]] / z[seen]
        assert ((ratio - 1).abs() < 0.05).float().mean() > 0.5


def test_resumed_run_equals_uninterrupted(worlds: Path, tmp_path: Path) -> None:
    recipe = replace(Recipe(), steps=4, batch=1, warmup=2, every=2)
    Trainer(worlds, tmp_path / "whole", recipe).train()

    class Killed(Exception):
        pass

    class Dying(Trainer):
        def _save(self) -> None:
            super()._save()
            if self.step == 2:
                raise Killed

    with pytest.raises(Killed):
        Dying(worlds, tmp_path / "cut", recipe).train()
    resumed = Trainer(worlds, tmp_path / "cut", recipe)
    assert resumed.step == 2
    with pytest.raises(InputError, match="another recipe"):
        Trainer(worlds, tmp_path / "cut", replace(recipe, seed=1))
    resumed.train()
    whole, cut = (load_file(tmp_path / name / "prior.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_no_worlds_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training data"):
        Trainer(tmp_path, tmp_path / "run", Recipe())


def test_a_phase_starts_from_the_weights_of_the_one_before(worlds: Path, tmp_path: Path) -> None:
    recipe = replace(Recipe(), steps=1, batch=1, every=1)
    Trainer(worlds, tmp_path / "first", recipe).train()
    weights = tmp_path / "first" / "prior.safetensors"
    started = Trainer(worlds, tmp_path / "second", recipe, weights)
    assert all(torch.equal(value, started.average[name]) for name, value in load_file(weights).items())
