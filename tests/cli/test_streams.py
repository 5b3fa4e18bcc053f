"""Commands as parts of a pipe: lists on stdin, results on stdout, talk on stderr."""

import json
import os
import pty
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import stages.pipeline
from stages.files.video import read_mp4
from tests.cli.conftest import Ended

Run = Callable[..., Ended]
Start = Callable[..., "subprocess.Popen[bytes]"]
Photos = tuple[Path, Path]


def test_what_a_command_prints_is_the_next_ones_input(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    prior = videoscene("prior", *photos, "-o", tmp_path / "s", "--size", 64)
    render = videoscene("render", "-", "--frames", 2, stdin=prior.out)
    generate = videoscene("generate", "-", "--student", "none", stdin=render.out)
    assert [ended.code for ended in (prior, render, generate)] == [0, 0, 0]
    assert prior.out == render.out == generate.out == f"{tmp_path / 's'}\n"
    assert (tmp_path / "s" / "generate" / "video.mp4").is_file()
    assert "no video student is used" in generate.err


def test_json_lines_pipe_as_well(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    prior = videoscene("prior", *photos, "-o", tmp_path / "s", "--size", 64, "--json")
    record = json.loads(prior.out)
    assert record["path"] == str(tmp_path / "s")
    assert Path(record["manifest"]).is_file()
    assert json.loads(videoscene("render", "-", "--frames", 2, "--json", stdin=prior.out).out)["command"] == "render"


def test_lists_of_pairs(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    a, b = photos
    lines = f"{a}\t{b}\t{tmp_path / 'one'}\n\n{a}\t{b}\n" + json.dumps(
        {"images": [str(b), str(a)], "out": str(tmp_path / "three.mp4")}
    )
    ended = videoscene("generate", "-", "-o", tmp_path / "all", "--size", 64, "--frames", 2, stdin=lines)
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == [
        str(tmp_path / "one"),
        str(tmp_path / "all" / "room"),
        str(tmp_path / "three.mp4"),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        *("", "\n  \n", "a.png\n", "a.png\tb.png\n", "a\tb\tc\td\n", "a\t\tc\n"),
        *('{"images": ["a"], "out": "s"}', '{"images": 3}', '{"images": "ab", "out": "s"}', "{", '{"out": "s"}'),
        *(
            '{"images": ["a", "b", "c"], "out": "s"}',
            '{"images": ["a", "b"], "out": ""}',
            '{"images": ["a", "b"], "out": 0}',
        ),
    ],
)
def test_a_list_that_cannot_be_read_is_2_before_any_work(
    videoscene: Run, photos: Photos, tmp_path: Path, lines: str
) -> None:
    first = f"{photos[0]}\t{photos[1]}\t{tmp_path / 's'}\n" if lines.strip() else ""
    ended = videoscene("prior", "-", "--size", 64, stdin=first + lines)
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.err.splitlines()) == 3
    assert not (tmp_path / "s").exists()


def test_a_name_with_an_accent_passes_through_a_stdout_that_is_called_ascii(
    program: Start, photos: Photos, tmp_path: Path
) -> None:
    out = tmp_path / "café"
    process = program("prior", *photos, "-o", out, "--size", 64, env={**os.environ, "PYTHONIOENCODING": "ascii:strict"})
    printed, err = process.communicate()
    assert (process.returncode, printed) == (0, os.fsencode(out) + b"\n"), err


def test_names_that_are_not_utf8_pass_from_a_list_to_stdout(program: Start, photos: Photos, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    for photo in photos:
        os.rename(photo, folder + b"/" + os.fsencode(photo.name))
    process = program(
        "prior", "-", "--size", 64, stdin=subprocess.PIPE, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    )
    out, err = process.communicate(b"\t".join(folder + b"/" + name for name in (b"room_0.png", b"room_1.png", b"s")))
    assert (process.returncode, out) == (0, folder + b"/s\n"), err
    assert os.path.isfile(folder + b"/s/prior/manifest.json")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_list_may_begin_with_a_byte_order_mark(
    videoscene: Run, photos: Photos, tmp_path: Path, encoding: str
) -> None:
    line = f"{photos[0]}\t{photos[1]}\t{tmp_path / 's'}\r\n"
    assert videoscene("prior", "-", "--size", 64, "--dry-run", stdin=line.encode(encoding)).code == 0


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (b"a.png b.png s", "parted by spaces"),
        (b"a.png, b.png", "parted by commas"),
        (b"a b.png;c.png;o.mp4", "parted by semicolons"),
        (b"a.png|b.png", "parted by bars"),
        (b'"a.png"\t"b.png"\ts', "in quotes"),
        (b"# my pairs\na.png\tb.png\ts", "comment"),
        (b"#a.png\tb.png\ts", "comment"),
        (b'[{"images": ["a.png", "b.png"], "out": "s"}]', "one JSON object per line"),
        (b'[\n{"images": ["a.png", "b.png"]}]', "one JSON object per line"),
        (b'{\n"images": ["a.png", "b.png"]}', "no JSON object of one line"),
        (b'{"image0": "a.png", "image1": "b.png"}', "neither images nor path, but image0, image1"),
        (b'{"images": ["a.png", "b.png", "c.png"]}', "images must be a list of two"),
        ("a.png\tb.png\ts\n".encode("utf-16-le"), "UTF-16"),
        (b"\xff\xfea", "save it as UTF-8"),
        (b'{"path": "a\\u0000b"}', "NUL"),
    ],
)
def test_a_list_of_another_make_names_the_cause(videoscene: Run, lines: bytes, words: str) -> None:
    ended = videoscene("prior", "-", stdin=lines)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err


def test_a_name_with_a_space_is_no_list_of_two(videoscene: Run, tmp_path: Path) -> None:
    (tmp_path / "a.b c.d").mkdir()
    ended = videoscene("render", "-", stdin=f"{tmp_path / 'a.b c.d'}\n")
    assert "parted" not in ended.err
    assert "no scene" in ended.err


@pytest.mark.parametrize("again", ["s", "./s", "t/../s"])
def test_two_results_in_one_place_are_refused(videoscene: Run, photos: Photos, tmp_path: Path, again: str) -> None:
    lines = [f"{photos[0]}\t{photos[1]}\t{tmp_path}/{out}\n" for out in ("s", again)]
    ended = videoscene("prior", "-", stdin="".join(lines))
    assert (ended.code, ended.out) == (2, "")
    assert "named twice" in ended.err


def test_a_list_streams_no_video_into_its_results(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    lines = [f"{photos[0]}\t{photos[1]}\t{out}\n" for out in (tmp_path / "o.mp4", "-")]
    assert videoscene("generate", "-", stdin="".join(lines)).code == 2


def test_one_failure_does_not_stop_the_rest(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    pairs = [
        (tmp_path / "gone.png", photos[1], tmp_path / "s0"),
        (*photos, tmp_path / "s1"),
        (photos[0], tmp_path, tmp_path / "s2"),
    ]
    ended = videoscene("prior", "-", "--size", 64, stdin="".join("\t".join(map(str, pair)) + "\n" for pair in pairs))
    assert (ended.code, ended.out) == (1, f"{tmp_path / 's1'}\n")
    assert "gone.png" in ended.err
    assert "2 of 3 failed" in ended.err
    assert not (tmp_path / "s0").exists()


def test_stdout_holds_results_alone(
    videoscene: Run, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = stages.pipeline.render_parts

    def noisy(*arguments: object) -> object:
        sys.stdout.write("a library greets\n")
        warnings.warn("a library\nis worried", stacklevel=1)
        return draw(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stages.pipeline, "render_parts", noisy)
    ended = videoscene("generate", *photos, "-o", tmp_path / "o.mp4", "--size", 64, "--frames", 2, "-q")
    assert ended.out == f"{tmp_path / 'o.mp4'}\n"
    assert ended.err.splitlines() == ["a library greets", "warning: a library is worried"]


def test_a_video_streams_to_stdout(program: Start, photos: Photos, tmp_path: Path) -> None:
    out, err = program("generate", *photos, "-o", "-", "--size", 64, "--frames", 3, "-v").communicate()
    (tmp_path / "piped.mp4").write_bytes(out)
    assert out[4:8] == b"ftyp", err
    assert b"moof" in out
    assert read_mp4(tmp_path / "piped.mp4").shape == (3, 3, 64, 96)


def test_a_reader_that_leaves_early_is_no_news(program: Start, photos: Photos) -> None:
    process = program("generate", *photos, "-o", "-", "--size", 64, "--frames", 2, "-q")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait()) == (b"", 1)


def test_a_video_is_refused_on_a_terminal(photos: Photos) -> None:
    terminal, child = pty.openpty()
    command = [sys.executable, "-m", "tests.cli.program", "generate", *map(str, photos), "-o", "-"]
    done = subprocess.run(command, stdout=child, stderr=subprocess.PIPE, text=True)
    os.close(terminal)
    os.close(child)
    assert done.returncode == 2
    assert "terminal" in done.stderr


def test_the_plan_of_a_stream_is_shown_on_a_terminal(photos: Photos) -> None:
    terminal, child = pty.openpty()
    command = [sys.executable, "-m", "tests.cli.program", "generate", *map(str, photos), "-o", "-", "--dry-run"]
    done = subprocess.run(command, stdout=child, stderr=subprocess.PIPE, text=True)
    os.close(child)
    shown = os.read(terminal, 65536)
    os.close(terminal)
    assert (done.returncode, done.stderr) == (0, "")
    assert b"state: to be made" in shown


def test_progress_is_drawn_on_a_terminal_only(photos: Photos, tmp_path: Path) -> None:
    terminal, child = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "tests.cli.program",
        "prior",
        *map(str, photos),
        "-o",
        str(tmp_path / "s"),
        "--size",
        "64",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=child, env={**os.environ, "TERM": "xterm"})
    os.close(child)
    shown = os.read(terminal, 65536)
    os.close(terminal)
    assert done.stdout == f"{tmp_path / 's'}\n".encode()
    assert b"\x1b[" in shown


def test_nothing_is_drawn_into_a_pipe(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    assert videoscene("prior", *photos, "-o", tmp_path / "s", "--size", 64).err == ""
