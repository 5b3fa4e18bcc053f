"""From photographs of any kind to two views of one size."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from stages.errors import InputError
from stages.files.images import write_png
from stages.files.transforms import write_transforms
from stages.geometry import project, unproject
from stages.prior.config import SMALL
from stages.prior.network import MVSplat
from stages.prior.pose import PairGeometry
from stages.prior.predict import AS_GIVEN, RANGES, Prediction, predict, predict_in_range
from stages.prior.prepare import cover, prepare
from stages.scene import C0, Cameras, Gaussians, Views


def _pair(folder: Path, size: tuple[int, int] = (120, 200)) -> tuple[Path, Path, Cameras]:
    """A textured plane at z = 4 seen from two places, with its true cameras."""
    from stages.worlds import photograph
    from stages.worlds.layouts import World
    from stages.worlds.primitives import BALL, BOX, CYLINDER, Primitives
    from stages.worlds.textures import Textures, procedural_tile

    g = Generator().manual_seed(1)
    textures = Textures(torch.stack([procedural_tile(g) for _ in range(12)]))

    def box(centre: list[float], half: list[float], kind: int = BOX, first: int = 0) -> Primitives:
        faces = torch.arange(6)[None] + first
        return Primitives(
            kind,
            torch.eye(3)[None],
            torch.tensor([centre], dtype=torch.float32),
            torch.tensor([half], dtype=torch.float32),
            faces,
            torch.tensor([1.5]),
            torch.ones(1, 3),
        )

    things = [
        box([0.4, 0.1, 3.0], [0.3, 0.4, 0.2], BOX, 6),
        box([-0.7, 0, 3.4], [0.3] * 3, BALL, 3),
        box([0, -0.6, 3.2], [0.2, 0.2, 0.1], CYLINDER, 5),
    ]
    world = World(box([0, 0, 0], [3, 3, 4.5]), things, torch.zeros(1, 3), torch.zeros(1), 0.9)
    c2w = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    c2w[1, 0, 3] = 0.35
    h, w = size
    K = torch.tensor([[0.9 * w, 0, w / 2], [0, 0.9 * w, h / 2], [0, 0, 1]], dtype=torch.float64).expand(2, 3, 3)
    cameras = Cameras(c2w, K, size)
    paths = (folder / "left.png", folder / "right.png")
    for path, image in zip(paths, photograph(world, textures, cameras).images, strict=True):
        write_png(path, image)
    return (*paths, cameras)


def test_cover_keeps_what_a_pixel_sees() -> None:
    """A point projects to the same content before and after, whatever the aspect."""
    image = torch.rand(3, 90, 200, generator=Generator().manual_seed(0))
    K = torch.tensor([[150.0, 0, 100], [0, 150, 45], [0, 0, 1]])
    out, K_out = cover(image, K, (64, 64))
    assert out.shape == (3, 64, 64)
    pose, centre = torch.eye(4), torch.tensor([[0.0, 0, 2]])
    before, _ = project(centre, K, pose)
    after, _ = project(centre, K_out, pose)
    assert torch.allclose(before, torch.tensor([[100.0, 45]]))
    assert torch.allclose(after, torch.tensor([[32.0, 32]]), atol=0.5)
    scale = K_out[0, 0] / K[0, 0]
    assert scale == pytest.approx(64 / 90, rel=0.02)
    assert K_out[1, 1] / K[1, 1] == pytest.approx(float(scale), rel=0.02)


def test_given_cameras_win_and_follow_the_resize(tmp_path: Path) -> None:
    left, right, cameras = _pair(tmp_path)
    file = tmp_path / "transforms.json"
    write_transforms(file, cameras, ["images/right.png", "images/left.png"])  # matched by name, not by order
    prepared = prepare((left, right), short_side=64, cameras_file=file)
    assert prepared.facts["cameras"] == "given"
    assert prepared.views.cameras.size == (64, 106)
    assert torch.allclose(prepared.views.cameras.c2w[0].double(), cameras.c2w[1], atol=1e-6)
    near, far = prepared.near_far[0].tolist()
    assert near < 2.9 < 4.4 < far, "the range holds the scene"


def test_photographs_of_one_name_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    left, right, cameras = _pair(tmp_path)
    paths = (tmp_path / "left" / "0.png", tmp_path / "right" / "0.png")
    for path, photo in zip(paths, (left, right), strict=True):
        path.parent.mkdir()
        photo.rename(path)
    file = tmp_path / "transforms.json"
    write_transforms(file, cameras, ["left/0.png", "right/0.png"])
    prepared = prepare(paths, 64, file)
    assert torch.allclose(prepared.views.cameras.c2w.double(), cameras.c2w, atol=1e-6)


def test_one_name_of_two_tells_the_other_camera_too(tmp_path: Path) -> None:
    left, right, cameras = _pair(tmp_path)
    file = tmp_path / "transforms.json"
    write_transforms(file, cameras, ["images/other.png", "images/left.png"])
    prepared = prepare((left, right), short_side=64, cameras_file=file)
    assert torch.allclose(prepared.views.cameras.c2w.double(), cameras.c2w[[1, 0]], atol=1e-6)


def test_cameras_of_another_aspect_are_refused(tmp_path: Path) -> None:
    left, right, cameras = _pair(tmp_path)
    file = tmp_path / "transforms.json"
    write_transforms(file, Cameras(cameras.c2w, cameras.K, (300, 200)), ["left.png", "right.png"])
    with pytest.raises(InputError, match="does not fit"):
        prepare((left, right), 64, file)


def test_cameras_that_do_not_name_the_photographs_are_refused(tmp_path: Path) -> None:
    left, right, cameras = _pair(tmp_path)
    file = tmp_path / "transforms.json"
    three = Cameras(cameras.c2w[[0, 1, 1]], cameras.K[[0, 1, 1]], cameras.size)
    write_transforms(file, three, ["a.png", "b.png", "c.png"])
    with pytest.raises(InputError, match="does not name"):
        prepare((left, right), 64, file)


def test_predict_takes_any_size() -> None:
    """Sides that are no multiples of 16 are extended, and the Gaussians of the extension dropped."""
    size = (40, 52)
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, 0, 3] = 0.3
    K = torch.tensor([[50.0, 0, 26], [0, 50, 20], [0, 0, 1]]).expand(2, 3, 3)
    views = Views(torch.rand(2, 3, *size, generator=Generator().manual_seed(0)), Cameras(c2w, K, size))
    near_far = torch.tensor([[1.0, 10.0], [1.0, 10.0]])
    torch.manual_seed(0)
    network = MVSplat(SMALL)
    prediction = predict_in_range(views, near_far, network)
    inner = (40 - 2) * (52 - 2)  # without the outermost pixels
    assert len(prediction.gaussians) == 2 * inner
    assert len(prediction.gaussians.of_photograph(0)) == len(prediction.gaussians.of_photograph(1)) == inner
    assert prediction.depth.shape == (2, 40, 52)
    # the Gaussians are the pixels': seen from their own camera they lie in their own pixel, or next to it
    pixels, _ = project(prediction.gaussians.means[:inner], K[0], c2w[0])
    y, x = torch.meshgrid(torch.arange(1, 39) + 0.5, torch.arange(1, 51) + 0.5, indexing="ij")
    assert (pixels - torch.stack([x, y], -1).reshape(-1, 2)).abs().max() < 1.0


def test_the_range_that_the_photographs_bear_out_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall at depth 2, and a stand-in network that puts everything at the near plane: it suits one range only."""
    size, depth = (32, 48), 2.0
    K = torch.tensor([[50.0, 0, 24], [0, 50, 16], [0, 0, 1]]).expand(2, 3, 3)
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, 0, 3] = 0.4  # 10 px at the wall
    wide = torch.rand(3, 32, 58, generator=Generator().manual_seed(0))
    views = Views(torch.stack([wide[..., :48], wide[..., 10:]]), Cameras(c2w, K, size))

    def at_near(views: Views, near_far: Tensor, *_: object) -> Prediction:
        z = near_far[:, 0]
        points = torch.cat([unproject(z[v].expand(size), K[v], c2w[v]).reshape(-1, 3) for v in (0, 1)])
        colours = views.images.permute(0, 2, 3, 1).reshape(-1, 1, 3)
        g = len(points)
        gaussians = Gaussians(
            points,
            torch.full((g, 3), 0.02),
            torch.tensor([1.0, 0, 0, 0]).expand(g, 4),
            torch.full((g,), 0.95),
            (colours - 0.5) / C0,
            torch.arange(2, dtype=torch.uint8).repeat_interleave(g // 2),
        )  # fmt: skip
        return Prediction(gaussians, z[:, None, None].expand(2, *size), near_far)

    monkeypatch.setattr("stages.prior.predict.predict_in_range", at_near)
    for scale, _ in RANGES:
        start = torch.tensor([[depth / scale, 50.0]] * 2)
        assert torch.allclose(predict(views, start, MVSplat(SMALL)).near_far[:, 0], torch.tensor(depth))
        assert torch.equal(predict(views, start, MVSplat(SMALL), AS_GIVEN).near_far, start)


def test_doubtful_cameras_are_a_warning_and_in_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = (tmp_path / "left.png", tmp_path / "right.png")
    for path in paths:
        write_png(path, torch.full((3, 64, 96), 0.5))
    K = torch.tensor([[80.0, 0, 48], [0, 80, 32], [0, 0, 1]]).repeat(2, 1, 1)
    near_far, points = torch.tensor([[1.0, 9.0], [1.0, 9.0]]), torch.zeros(1, 3)

    def found(*doubts: str) -> PairGeometry:
        return PairGeometry(torch.eye(4).repeat(2, 1, 1), K, near_far, points, 90, 60, "matches", 3.0, 0.4, doubts)

    monkeypatch.setattr("stages.prior.prepare.estimate_cameras", lambda *_: found("two lenses"))
    with pytest.warns(RuntimeWarning, match=r"left\.png and .*right\.png may be wrong: two lenses"):
        facts = prepare(paths, 64).facts
    assert (facts["evidence"], facts["doubts"]) == ("weak", ["two lenses"])
    monkeypatch.setattr("stages.prior.prepare.estimate_cameras", lambda *_: found())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert prepare(paths, 64).facts["evidence"] == "good"
