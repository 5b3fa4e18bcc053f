"""The main job, nothing replaced: two photographs in, a video out, or a clear error where no video can be right."""

import io
import json
import sys
from pathlib import Path

import pytest
import torch

from stages.files.images import fit, read_image, write_png
from stages.files.video import read_mp4
from videoscene_cli.app import run

ROOM = [Path(__file__).resolve().parents[1] / "examples" / f"room_{index}.jpg" for index in (0, 1)]
SMALL = ["--size", "128", "--frames", "5"]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDEOSCENE_WEIGHTS", raising=False)


def generate(photos: list[Path], out: Path, *options: str) -> int:
    return run(["generate", *map(str, photos), "-o", str(out), *SMALL, *options])


def test_two_photographs_become_a_video_that_starts_and_ends_with_them(tmp_path: Path) -> None:
    assert generate(ROOM, tmp_path / "out.mp4") == 0
    frames = read_mp4(tmp_path / "out.mp4")
    photographs = torch.stack([fit(read_image(path), torch.eye(3), 128)[0] for path in ROOM])
    psnr = -10 * torch.log10((frames[[0, -1]] - photographs).square().mean((1, 2, 3)))
    assert frames.shape[0] == 5
    assert psnr.min() > 20, psnr
    manifest = json.loads((tmp_path / "out.mp4.json").read_text())
    assert manifest["geometry"]["inliers"] > 100
    assert manifest["coverage"] > 0.9


def test_every_road_makes_the_same_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one go into a video, stage by stage into a folder, and command by command through pipes.

    The networks work in a smaller size than that of the result, as they do on photographs of usual size.
    """
    monkeypatch.setattr("stages.sizes.NETWORK_SIDE", 64)

    def lines(*arguments: str) -> str:
        assert run(list(arguments)) == 0
        return capsys.readouterr().out

    assert generate(ROOM, tmp_path / "out.mp4", "--size", "96") == 0
    assert generate(ROOM, tmp_path / "scene", "--size", "96") == 0
    capsys.readouterr()
    scenes = lines("prior", *map(str, ROOM), "-o", str(tmp_path / "piped"), "--size", "96")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(scenes.encode())))
    scenes = lines("render", "-", "--frames", "5")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(scenes.encode())))
    assert lines("generate", "-") == f"{tmp_path / 'piped'}\n"
    folder, piped = (tmp_path / name / "generate" for name in ("scene", "piped"))
    names = sorted(path.name for path in (folder / "frames").iterdir())
    assert len(names) == 5
    assert all((folder / "frames" / name).read_bytes() == (piped / "frames" / name).read_bytes() for name in names)
    video = (tmp_path / "out.mp4").read_bytes()
    assert video == (folder / "video.mp4").read_bytes() == (piped / "video.mp4").read_bytes()


@pytest.mark.parametrize("case", ["one place", "two places"])
def test_a_pair_that_cannot_work_is_1_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    other = tmp_path / "other.png"
    write_png(
        other,
        read_image(ROOM[0])
        if case == "one place"
        else torch.rand(3, 256, 384, generator=torch.Generator().manual_seed(0)),
    )
    assert generate([ROOM[0], other], tmp_path / "out.mp4") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line[:6] for line in lines] == ["error:", "  why:", "  try:"]
    assert "match" in " ".join(lines)
    assert [path.name for path in tmp_path.iterdir()] == ["other.png"]


def test_poses_that_are_not_numbers_are_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = {"transform_matrix": [[float("nan")] * 4] * 4, "fl_x": 300, "cx": 192, "cy": 128, "w": 384, "h": 256}
    cameras = tmp_path / "transforms.json"
    cameras.write_text(json.dumps({"frames": [frame | {"file_path": path.name} for path in ROOM]}))
    assert generate(ROOM, tmp_path / "out.mp4", "--cameras", str(cameras)) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["transforms.json"]
