"""What a user sees when something is wrong: an exit code and three lines, and no trace of the attempt on the disk."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from stages.errors import DeviceError, RunError
from tests.cli.conftest import Ended

Run = Callable[..., Ended]
Photos = tuple[Path, Path]


def assert_three_lines(ended: Ended, code: int, *words: str) -> None:
    lines = ended.err.splitlines()
    assert ended.code == code, ended.err
    assert ended.out == ""
    assert len(lines) == 3, ended.err
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("  why: ")
    assert lines[2].startswith("  try: ")
    assert all(len(line) > len("error: ") for line in lines)
    for word in words:
        assert word in ended.err


def listing(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def broken(tmp_path: Path, photos: Photos) -> dict[str, Path]:
    files = {name: tmp_path / name for name in ("missing.png", "text.png", "cut.png", "tiny.png", "folder")}
    files["text.png"].write_text("not an image")
    files["cut.png"].write_bytes(photos[0].read_bytes()[:-400])
    Image.new("RGB", (1, 1)).save(files["tiny.png"])
    files["folder"].mkdir()
    return files


@pytest.mark.parametrize("command", ["prior", "generate"])
@pytest.mark.parametrize("name", ["missing.png", "text.png", "cut.png", "tiny.png", "folder"])
def test_an_unusable_photograph_is_2_and_leaves_nothing(
    videoscene: Run, broken: dict[str, Path], photos: Photos, tmp_path: Path, command: str, name: str
) -> None:
    before = listing(tmp_path)
    for pair in ((broken[name], photos[1]), (photos[0], broken[name])):
        ended = videoscene(command, *pair, "-o", tmp_path / "out" / "scene")
        assert_three_lines(ended, 2, name)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], ["nothing"]),
        ([], ["command"]),
        (["prior"], ["A B"]),
        (["prior", "a.png"], ["two photographs"]),
        (["prior", "a.png", "b.png"], ["-o"]),
        (["prior", "a.png", "b.png", "c.png", "-o", "s"], ["two photographs"]),
        (["prior", "a.png", "b.png", "-o", "s", "--size", "1e3"], ["photo, or a number of pixels"]),
        (["prior", "a.png", "b.png", "-o", "s", "--device", "gpu"], ["auto", "cpu", "cuda"]),
        (["prior", "a.png", "b.png", "-o", "s", "--sise", "100"], ["--size"]),
        (["render", "nowhere"], ["nowhere", "videoscene prior"]),
        (["render", "nowhere", "--frames", "0"], ["--frames"]),
        (["generate", "nowhere"], ["nowhere", "videoscene render"]),
        (["generate", "nowhere", "--frames", "3"], ["--frames"]),
        (["generate", "nowhere", "--keep-exposure"], ["--keep-exposure does nothing to a scene"]),
        (["generate", "a.png", "b.png"], ["out.mp4"]),
    ],
    ids=lambda value: " ".join(value) or "no command",
)
def test_bad_usage_is_2_and_says_what_is_right(videoscene: Run, arguments: list[str], words: list[str]) -> None:
    assert_three_lines(videoscene(*arguments), 2, *words)


@pytest.mark.parametrize("out", ["-", "x.mp4"])
@pytest.mark.parametrize(
    "command", [["prior", "a", "b"], ["render", "s"], ["reconstruct", "s"], ["evaluate", "s"], ["generate", "-"]]
)
def test_a_folder_is_not_called_like_a_video(
    videoscene: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = listing(tmp_path)
    assert_three_lines(videoscene(*command, "-o", out, stdin="a\tb\n"), 2, "-o FOLDER")
    assert listing(tmp_path) == before


def test_an_unknown_path_lists_the_known_ones(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    ended = videoscene("generate", *photos, "-o", tmp_path / "o.mp4", "--path", "zigzag")
    assert_three_lines(ended, 2, "zigzag", "interp", "orbit", "spiral", "dolly")


def test_an_unwritable_place_is_2_before_any_work(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    before = listing(tmp_path)
    assert_three_lines(videoscene("prior", *photos, "-o", tmp_path / "file" / "scene"), 2, "file")
    assert_three_lines(videoscene("generate", *photos, "-o", tmp_path / "file" / "out.mp4"), 2, "file")
    assert listing(tmp_path) == before


def test_missing_weights_are_3_and_list_the_known_names(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    assert_three_lines(
        videoscene("prior", *photos, "-o", tmp_path / "s", "--weights", "huge"), 3, "huge", "known names"
    )


def test_a_missing_device_is_4(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    assert_three_lines(
        videoscene("prior", *photos, "-o", tmp_path / "s", "--device", "cuda:99"), 4, "cuda:99", "--device cpu"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunError("no overlap", "only 7 matches", "take photographs that share more"), 1),
        (DeviceError("no device", "gone", "use --device cpu"), 4),
        (MemoryError("tried to allocate 99 GB"), 4),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"), 4),
        (OSError(28, "No space left on device"), 1),
        (ValueError("a bug\nof two lines"), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_failure_has_its_code(
    videoscene: Run, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("stages.pipeline.render_parts", fail)
    before = listing(tmp_path)
    assert_three_lines(videoscene("generate", *photos, "-q", "-o", tmp_path / "out.mp4"), code)
    assert listing(tmp_path) == before


def test_verbose_adds_the_traceback(videoscene: Run, tmp_path: Path) -> None:
    ended = videoscene("render", tmp_path / "nowhere", "-v")
    assert ended.code == 2
    assert "Traceback" in ended.err
    assert [line[:6] for line in ended.err.splitlines()[-3:]] == ["error:", "  why:", "  try:"]


def test_a_closed_stdout_is_quiet(photos: Photos, tmp_path: Path) -> None:
    code = "import sys; from tests.cli.program import main; main()"
    command = [sys.executable, "-c", code, "prior", *map(str, photos), "-o", str(tmp_path / "s"), "-q"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate()
    assert (process.returncode, err) == (1, b"")
