"""Pairs for the prior: what a batch does keeps the geometry, and the pool waits for shards that are still made."""

import multiprocessing
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Generator

from stages.distill import prior_worlds
from stages.distill.clips_of_recordings import PosedFolder
from stages.distill.pairs_of_recordings import write_pairs
from stages.distill.prior_pairs import Batch, Pool, in_another_light, make_batch, read_scenes
from stages.distill.prior_worlds import Makers, PairWorlds, load_pair_worlds
from stages.distill.recipe_file import Data
from stages.errors import InputError, RunError
from stages.geometry import project, unproject
from stages.worlds import load_textures
from stages.worlds.shards import shard_path, write_shard
from tests.distill.tiny_prior import random_shard

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("worlds")
    textures = load_textures(None, Generator().manual_seed(0), procedural=6)
    return [write_shard(folder, textures, seed=0, number=0, scenes=2, size=(128, 192))]


def batch_of(worlds: list[Path], step: int, width: int | None = None) -> Batch:
    pool = Pool(worlds)
    pool.take(1)
    g = Generator().manual_seed(step)
    return make_batch(pool.sample(1, g), g, CPU, width)


@pytest.mark.parametrize("width", [None, 128])
def test_random_variants_keep_the_geometry(
    worlds: list[Path], width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cropped, mirrored and swapped batches still have the depth that their cameras explain."""
    monkeypatch.setattr("stages.distill.prior_pairs.in_another_light", lambda images, _: images)
    seen_first = set()
    for step in range(8):
        batch = batch_of(worlds, step, width)
        assert batch.depth is not None
        assert batch.images.shape[-1] == batch.depth.shape[-1] == (width or 192)
        c2w, K = batch.c2w[0].double(), batch.K[0].double()
        points = unproject(batch.depth[0, 0].double(), K, c2w[0]).reshape(-1, 3)
        pixels, z = project(points, K, c2w[1])
        h, w = batch.depth.shape[-2:]
        x, y = (pixels - 0.5).round().long().unbind(-1)
        seen = (z > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
        ratio = batch.depth[0, 1][y[seen], x[seen]] / z[seen]
        assert ((ratio - 1).abs() < 0.05).float().mean() > 0.5
        near, far = batch.near_far[0, 0].tolist()
        assert 0 < near < far
        seen_first.add(float(batch.images[0, 0, 0, :, 0].mean()))  # red of the first column
    assert len(seen_first) > 3, "the variants differ"


def test_another_light_is_the_same_for_all_views_of_a_scene() -> None:
    grey = torch.linspace(0.05, 0.95, 9)
    images = grey.expand(4, 3, 3, 2, 9)
    lit = in_another_light(images, Generator().manual_seed(0))
    assert torch.equal(lit[:, 0], lit[:, 1])
    assert 0 <= lit.min() <= lit.max() <= 1
    assert (lit.diff(dim=-1) >= 0).all(), "bright stays brighter than dark"
    middle = lit[:, 0, :, 0, 4]
    assert (middle - 0.5).abs().max() < 0.4
    assert len({round(float(x), 4) for x in middle.flatten()}) == 12, "scenes and channels differ"


def test_the_pool_waits_for_a_shard_and_says_how_long(worlds: list[Path], tmp_path: Path) -> None:
    paths = [shard_path(tmp_path, number) for number in range(3)]
    tensors = load_file(worlds[0])
    save_file(tensors, paths[0])
    pool = Pool(paths)
    pool.take(1)
    assert (pool.loaded, pool.waited) == (1, 0)

    def make() -> None:
        time.sleep(0.3)
        save_file(tensors, tmp_path / "partial")
        (tmp_path / "partial").rename(paths[1])

    maker = threading.Thread(target=make)
    maker.start()
    pool.take(2)
    maker.join()
    assert pool.loaded == 2
    assert pool.waited > 0.1
    assert len(next(iter(pool.groups.values()))) == 4


def test_the_pool_does_not_wait_for_makers_that_failed(tmp_path: Path) -> None:
    def failed() -> None:
        raise RunError("cannot make training pairs", "a process ended", "see above")

    with pytest.raises(RunError, match="cannot make training pairs"):
        Pool([shard_path(tmp_path, 0)], check=failed).take(1)


def test_a_file_that_is_no_shard_is_named(tmp_path: Path) -> None:
    save_file({"images": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="it holds images"):
        read_scenes(tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot read the training pairs"):
        read_scenes(tmp_path / "b.safetensors")


def test_one_shard_in_twelve_shows_primitive_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[int, tuple[str, tuple[int, int]]] = {}
    for kind, name in (("primitive", "write_shard"), ("furnished", "write_furnished_shard")):

        def write(
            folder: Path, source: object, seed: int, number: int, scenes: int, size: tuple[int, int], kind: str = kind
        ) -> None:
            made[number] = (kind, size)

        monkeypatch.setattr(prior_worlds, name, write)
    textures = load_textures(None, Generator().manual_seed(0), procedural=1)
    sizes = ((64, 64), (64, 96))
    furnished = PairWorlds(textures, object(), sizes, 2, 0)  # type: ignore[arg-type]
    for number in range(24):
        furnished.write(tmp_path, number)
    assert [number for number, (kind, _) in made.items() if kind == "primitive"] == [5, 17]
    assert {size for _, size in made.values()} == set(sizes)
    PairWorlds(textures, None, sizes, 2, 0).write(tmp_path, 0)
    assert made[0][0] == "primitive"


def test_makers_make_what_one_process_makes_and_end(tmp_path: Path) -> None:
    """In processes beside this one, whatever their number; a shard that is there is kept."""
    data = Data(pairs=3, scenes=1, sizes=((32, 48), (48, 32)), makers=2)
    worlds = load_pair_worlds(data, 7)
    alone = [worlds.write(tmp_path / "alone", number) for number in range(3)]
    random_shard(tmp_path / "beside" / "00001.safetensors")
    kept = (tmp_path / "beside" / "00001.safetensors").read_bytes()
    with Makers(data, tmp_path / "beside", 7, [0, 2]) as makers:
        pool = Pool([shard_path(tmp_path / "beside", number) for number in range(3)], check=makers.check)
        pool.take(3)
    assert not multiprocessing.active_children()
    beside = [shard_path(tmp_path / "beside", number) for number in range(3)]
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(alone, beside, strict=True)] == [True, False, True]
    assert beside[1].read_bytes() == kept


def test_a_maker_that_fails_ends_the_training(tmp_path: Path) -> None:
    data = Data(pairs=1, furniture=str(tmp_path / "nothing.npz"), makers=1)
    with Makers(data, tmp_path, 0, [0]) as makers, pytest.raises(RunError, match="ended with code 1"):
        Pool([shard_path(tmp_path, 0)], check=makers.check).take(1)


def test_pairs_of_a_recording_show_it_from_its_cameras(tmp_path: Path) -> None:
    """Frames of one world: the range of depth that matches show is that of the world."""
    from PIL import Image

    from stages.scene import Cameras
    from tests.distill.tiny_prior import walk

    images, depth, cameras = walk(frames=6, size=(144, 192))
    paths = []
    for k, image in enumerate(images):
        paths.append(tmp_path / f"{k}.png")
        Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(paths[-1])
    recording = PosedFolder(Cameras(cameras.c2w.double(), cameras.K.double(), cameras.size), paths)
    path = write_pairs(tmp_path / "pairs", [recording], 0, 0, [(96, 128)], scenes=2)
    scenes = read_scenes(path)
    assert [scene["images"].shape for scene in scenes] == [(4, 3, 96, 128)] * 2
    for scene in scenes:
        near, far = scene["near_far"][0].tolist()
        assert 0.3 * float(depth.min()) < near < float(depth.median()) < far < 5 * float(depth.max())
    pool = Pool([path])
    pool.take(1)
    g = Generator().manual_seed(0)
    assert make_batch(pool.sample(2, g), g, CPU, None).depth is None
    nothing = Pool([path], needs_depth=True)
    nothing.take(1)
    with pytest.raises(InputError, match="none of them has depth"):
        nothing.sample(1, g)
    short = PosedFolder(recording.cameras([0, 1], cameras.size), paths[:2])
    with pytest.raises(InputError, match="0 of 1 pairs"):
        write_pairs(tmp_path / "short", [short], 0, 0, [(96, 128)], scenes=1)
