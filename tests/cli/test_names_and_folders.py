"""What people call files and folders, and what they give in place of what a command takes."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import ROOT, Ended

Run = Callable[..., Ended]
Photos = tuple[Path, Path]

IDENTITY = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("out", ["x.mov", "x.GIF", "x.webm", "x.ply"])
@pytest.mark.parametrize("command", ["prior", "generate", "distill", "evaluate", "render"])
def test_another_files_ending_is_2_before_the_work(
    videoscene: Run, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"distill": [], "evaluate": ["s"], "render": ["s"]}.get(command, list(photos))
    before = set(tmp_path.iterdir())
    ended = videoscene(command, *given, "-o", out)
    assert ended.code == 2
    assert ".mp4" in ended.err
    assert set(tmp_path.iterdir()) == before


def test_a_list_names_no_other_files_ending(videoscene: Run, photos: Photos) -> None:
    assert "x.mov" in videoscene("generate", "-", stdin=f"{photos[0]}\t{photos[1]}\tx.mov\n").err


@pytest.mark.parametrize(
    "arguments", [["generate", "a.png", "b.png", "-o", ""], ["render", ""], ["generate", "", "b.png", "-o", "s"]]
)
def test_an_empty_name_is_2(videoscene: Run, arguments: list[str]) -> None:
    ended = videoscene(*arguments)
    assert (ended.code, len(ended.err.splitlines())) == (2, 3)
    assert "empty" in ended.err


def test_a_leading_tilde_is_the_home_folder(
    videoscene: Run, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a shell leaves it: after --out=, in a list, in a config file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    plan = ("generate", "--dry-run", "--json")
    assert json.loads(videoscene(*plan, *photos, "--out=~/x.mp4").out)["outputs"][0] == str(tmp_path / "x.mp4")
    listed = videoscene(*plan, "-", stdin=f"~/{photos[0].name}\t~/{photos[1].name}\t~/x.mp4\n")
    assert json.loads(listed.out)["outputs"][0] == str(tmp_path / "x.mp4")
    (tmp_path / "c.yaml").write_text("out: ~/x.mp4\n")
    assert json.loads(videoscene(*plan, *photos, "--config=~/c.yaml").out)["outputs"][0] == str(tmp_path / "x.mp4")


def test_one_photograph_is_not_enough(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    for command in ("generate", "reconstruct"):
        ended = videoscene(command, photos[0], "-o", tmp_path / "s")
        assert ended.code == 2
        assert "one photograph is not enough" in ended.err


def test_a_folder_that_is_no_scene_says_what_it_holds(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for command in ("render", "generate"):
        assert "2 photographs" in videoscene(command, tmp_path).err
        assert "none of inputs" in videoscene(command, tmp_path / "empty").err
        assert "it is a file" in videoscene("render", photos[0]).err


def test_a_folder_without_photographs_names_its_formats(videoscene: Run, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in ("a.cr2", "b.cr2", "._c.jpg"):
        (folder / name).touch()
    ended = videoscene("reconstruct", folder)
    assert ended.code == 2
    assert "2 files, none in a format that is read (.cr2)" in ended.err


@pytest.fixture
def pairs(photos: Photos, tmp_path: Path) -> Path:
    """A folder with spaces in its name and two pairs in it, one with spaces in its names."""
    folder = tmp_path / "my photos"
    folder.mkdir()
    for k in (0, 1):
        shutil.copy(photos[k], folder / f"living room_{k}.png")
        shutil.copy(photos[k], folder / f"hall-{k + 1}.png")
        (folder / f"._hall-{k + 1}.png").write_bytes(b"Mac OS X")
    return folder


def test_every_pair_of_a_folder_becomes_a_video(videoscene: Run, pairs: Path, tmp_path: Path) -> None:
    command = ("generate", "--pairs", pairs, "-o", tmp_path / "out", "--size", 64, "--frames", 2, "--student", "none")
    ended = videoscene(*command)
    assert (ended.code, ended.out) == (
        0,
        f"{tmp_path / 'out' / 'hall.mp4'}\n{tmp_path / 'out' / 'living room.mp4'}\n",
    ), ended.err
    assert videoscene(*command).err.count("up to date") == 2


def test_photographs_without_a_partner_are_left_out_with_a_warning(
    videoscene: Run, pairs: Path, tmp_path: Path
) -> None:
    for name in ("hall-3.png", "alone.png", "porch_0.png"):
        shutil.copy(pairs / "hall-1.png", pairs / name)
    ended = videoscene("generate", "--pairs", pairs, "-o", tmp_path / "out", "--dry-run")
    assert ended.code == 0
    assert ended.out.count("command: generate") == 2, "hall-3 has a mark of no pair"
    assert "warning: 3 photographs" in ended.err


@pytest.mark.parametrize("case", ["twice", "none", "missing", "no out", "both"])
def test_a_folder_that_holds_no_clear_pairs_is_2(videoscene: Run, pairs: Path, tmp_path: Path, case: str) -> None:
    if case == "twice":
        shutil.copy(pairs / "hall-1.png", pairs / "hall-1.jpg")
    if case == "none":
        pairs = tmp_path / "none"
        pairs.mkdir()
    arguments = {"missing": ["--pairs", tmp_path / "nowhere"], "both": ["a", "b", "--pairs", pairs]}.get(
        case, ["--pairs", pairs]
    )
    ended = videoscene("generate", *arguments, *([] if case == "no out" else ["-o", tmp_path / "out"]))
    assert (ended.code, len(ended.err.splitlines())) == (2, 3), ended.err
    assert not (tmp_path / "out").exists()


def test_one_photograph_twice_is_not_enough(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    link = tmp_path / "link.png"
    link.symlink_to(photos[0])
    for second in (photos[0], link):
        ended = videoscene("generate", photos[0], second, "-o", tmp_path / "o.mp4")
        assert (ended.code, len(ended.err.splitlines())) == (2, 3), ended.err
        assert "one file" in ended.err


def test_three_photographs_are_not_called_one(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    ended = videoscene("generate", *photos, photos[0], "-o", tmp_path / "o.mp4")
    assert ended.code == 2
    assert "where two photographs or one scene folder should be" in ended.err


@pytest.mark.parametrize("address", ["https://example.org/a.jpg", "file:///tmp/a.jpg", "s3://bucket/a.png"])
def test_an_address_is_no_file_and_the_error_keeps_its_slashes(videoscene: Run, photos: Photos, address: str) -> None:
    for arguments, stdin in ((["generate", address, photos[0]], ""), (["generate", "-"], f"{address}\t{photos[0]}\n")):
        ended = videoscene(*arguments, "-o", "o", stdin=stdin)
        assert ended.code == 2
        assert f"cannot read {address}" in ended.err
        assert "download" in ended.err


@pytest.mark.parametrize("out", ["x.mp4/", "x.mp4 ", "x.MP4 /"])
def test_what_only_looks_like_a_video_is_2(videoscene: Run, photos: Photos, out: str) -> None:
    ended = videoscene("generate", *photos, "-o", out, "--dry-run")
    assert (ended.code, ended.out) == (2, "")
    assert "give -o x." in ended.err


def test_a_folder_of_photographs_that_is_no_scene_is_sent_to_pairs(
    videoscene: Run, pairs: Path, photos: Photos, tmp_path: Path
) -> None:
    assert f"generate --pairs {pairs} -o OUT" in videoscene("generate", pairs).err
    assert "the folder of a scene" in videoscene("render", photos[0]).err


def test_photographs_in_a_folder_below_are_found_and_said(videoscene: Run, pairs: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    pairs.rename(outer / "inner")
    ended = videoscene("reconstruct", outer, "-o", "s")
    assert ended.code == 2
    assert f"one level down, in {outer / 'inner'}" in ended.err


@pytest.mark.parametrize(
    ("name", "beginning", "words"),
    [("transforms.json", b"{}", "give the folder"), ("scene.ply", b"ply\n", "PLY"), ("walk.mp4", b"", "empty")],
)
def test_a_file_that_is_no_video_is_called_what_it_is(
    videoscene: Run, tmp_path: Path, name: str, beginning: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(beginning)
    ended = videoscene("reconstruct", tmp_path / name, "-o", tmp_path / "s")
    assert (ended.code, len(ended.err.splitlines())) == (2, 3), ended.err
    assert words in ended.err


def test_a_photograph_that_a_transforms_json_names_and_nobody_has_is_said_to_be_named_there(
    videoscene: Run, tmp_path: Path
) -> None:
    frames = [{"file_path": f"C:\\data\\{k}.png", "transform_matrix": IDENTITY} for k in range(2)]
    (tmp_path / "transforms.json").write_text(json.dumps({"w": 64, "h": 64, "fl_x": 60.0, "frames": frames}))
    ended = videoscene("reconstruct", tmp_path, "-o", tmp_path / "s")
    assert ended.code == 2
    assert f"{tmp_path / 'transforms.json'} names it" in ended.err


def test_a_dry_run_refuses_a_place_where_nothing_can_be_written(
    videoscene: Run, photos: Photos, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for out in ("file/o.mp4", "file/scene"):
        ended = videoscene("generate", *photos, "-o", tmp_path / out, "--dry-run")
        assert (ended.code, ended.out) == (2, ""), out
        assert "is not a folder" in ended.err


def test_a_dry_run_reads_the_cameras(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    ended = videoscene("prior", *photos, "-o", tmp_path / "s", "--cameras", photos[0], "--dry-run")
    assert (ended.code, ended.out) == (2, "")
    assert str(photos[0]) in ended.err


def test_photographs_before_a_command_are_told_the_command(videoscene: Run, photos: Photos) -> None:
    ended = videoscene(*photos, "-o", "o.mp4")
    assert ended.code == 2
    assert "videoscene generate A B -o out.mp4" in ended.err


@pytest.mark.parametrize("out", ["videos.mp4", "-", "videos.mov"])
def test_the_videos_of_a_folder_of_pairs_go_into_a_folder_and_not_into_a_video(
    videoscene: Run, pairs: Path, out: str
) -> None:
    ended = videoscene("generate", "--pairs", pairs, "-o", out, "--dry-run")
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 3), ended.err
    assert f"-o {out} " in ended.err


def test_make_pairs_takes_any_name_and_refuses_a_missing_folder(pairs: Path, tmp_path: Path) -> None:
    def make(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [
            "make",
            "-n",
            "-o",
            "none/ready-to-run",
            "VENV=none",
            "pairs",
            f"DIR={folder}",
            f"OUT={tmp_path / 'out'}",
        ]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert make(pairs).returncode == 0
    assert "--pairs" in make(pairs).stdout
    assert make(tmp_path / "nowhere").returncode != 0


@pytest.mark.parametrize("length", [241, 246])
def test_a_name_as_long_as_the_file_system_allows(videoscene: Run, photos: Photos, tmp_path: Path, length: int) -> None:
    """The hidden name of an unfinished result is longer than its own. NAME.mp4.json has 255 bytes at most."""
    command = (
        "generate",
        *photos,
        "-o",
        tmp_path / "out" / ("x" * length + ".mp4"),
        "--size",
        64,
        "--frames",
        2,
        "--student",
        "none",
    )
    ended = videoscene(*command)
    assert ended.code == 0, ended.err
    assert len(os.listdir(tmp_path / "out")) == 3
    assert "up to date" in videoscene(*command).err


def test_a_name_that_is_too_long_is_2_before_the_work(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    ended = videoscene("generate", *photos, "-o", tmp_path / "out" / ("x" * 250 + ".mp4"))
    assert (ended.code, (tmp_path / "out").exists()) == (2, False)


@pytest.mark.parametrize("broken", ["missing", "size"])
def test_a_dry_run_of_posed_photographs_checks_them(
    videoscene: Run, photos: Photos, tmp_path: Path, broken: str
) -> None:
    matrix = [[1, 0, 0, 0.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    frames = [{"file_path": photo.name, "transform_matrix": matrix} for photo in photos]
    (tmp_path / "transforms.json").write_text(json.dumps({"w": 96, "h": 64, "fl_x": 96, "frames": frames}))
    assert videoscene("reconstruct", tmp_path, "--dry-run").code == 0
    if broken == "missing":
        photos[1].unlink()
    else:
        Image.new("RGB", (64, 64)).save(photos[1])
    for arguments in ([], ["--dry-run"]):
        ended = videoscene("reconstruct", tmp_path, "-o", tmp_path / "s", *arguments)
        assert (ended.code, ended.out) == (2, "")
        assert photos[1].name in ended.err
