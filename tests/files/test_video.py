import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch

from stages.errors import InputError, RunError
from stages.files.video import read_mp4, write_mp4


@pytest.fixture
def moving() -> torch.Tensor:
    """Twelve frames [12, 3, 80, 112] of a smooth pattern that moves, in colours that a wrong matrix would shift."""
    y, x = torch.meshgrid(torch.arange(80.0), torch.arange(112.0), indexing="ij")
    phase = torch.arange(12.0)[:, None, None]
    waves = [torch.sin(x / 13 + phase / 3), torch.sin(y / 9 - phase / 4), torch.cos((x + y) / 17)]
    return torch.stack([wave.expand(12, 80, 112) for wave in waves], 1) * 0.45 + 0.5


def described(path: Path) -> str:
    """What ffmpeg says about a file."""
    return subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True, check=False
    ).stderr


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10(((a - b) ** 2).mean()))


def test_file_round_trip(tmp_path: Path, moving: torch.Tensor) -> None:
    path = tmp_path / "new" / "a: b.mp4"
    write_mp4(path, moving, 8.0)
    frames = read_mp4(path)
    assert frames.shape == moving.shape
    assert frames.dtype == torch.float32
    assert psnr(frames, moving) > 38
    assert (frames - moving).mean((0, 2, 3)).abs().max() < 0.003
    text = described(path)
    assert "Video: h264" in text
    assert "yuv420p(tv, bt709" in text
    assert "112x80" in text
    assert "8 fps" in text


def test_frames_stay_in_order_and_every_one_is_kept(tmp_path: Path) -> None:
    frames = torch.linspace(0, 1, 49)[:, None, None, None].expand(49, 3, 32, 48)
    write_mp4(tmp_path / "a.mp4", frames, 30000 / 1001)
    assert (read_mp4(tmp_path / "a.mp4").mean((1, 2, 3)) - torch.linspace(0, 1, 49)).abs().max() < 0.01
    assert "29.97 fps" in described(tmp_path / "a.mp4")


def test_frames_of_a_variable_rate_are_read_once_each(tmp_path: Path, moving: torch.Tensor) -> None:
    write_mp4(tmp_path / "even.mp4", moving, 8.0)
    uneven = [
        "-vf",
        "setpts='N*N/40/TB'",
        "-fps_mode",
        "vfr",
        "-c:v",
        "libx264",
        "-crf",
        "10",
        str(tmp_path / "uneven.mp4"),
    ]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(tmp_path / "even.mp4"), *uneven]
    subprocess.run(command, check=True)
    frames = read_mp4(tmp_path / "uneven.mp4")
    assert len(frames) == len(moving)
    assert psnr(frames, moving) > 34


@pytest.mark.parametrize("fragmented", [False, True])
def test_the_index_is_in_front_so_that_playback_needs_no_seeking(
    tmp_path: Path, moving: torch.Tensor, fragmented: bool
) -> None:
    write_mp4(tmp_path / "a.mp4", moving, 8.0, fragmented)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert (b"moof" in data) == fragmented
    assert psnr(read_mp4(tmp_path / "a.mp4"), moving) > 38


def test_same_frames_same_bytes(tmp_path: Path, moving: torch.Tensor) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, moving, 8.0)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("shape", [(0, 3, 32, 32), (2, 3, 31, 32), (2, 3, 32, 33)])
def test_refuses_no_frames_and_odd_sides(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="frames of"):
        write_mp4(tmp_path / "a.mp4", torch.zeros(shape), 8.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan")])
def test_refuses_a_rate_of_nothing(tmp_path: Path, fps: float) -> None:
    with pytest.raises(InputError, match="frames per second"):
        write_mp4(tmp_path / "a.mp4", torch.zeros(2, 3, 32, 32), fps)


def test_refuses_nan_frames(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="NaN"):
        write_mp4(tmp_path / "a.mp4", torch.full((2, 3, 32, 32), float("nan")), 8.0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "full.mp4").symlink_to("/dev/full")
    with pytest.raises(RunError, match="no space left"):
        write_mp4(tmp_path / "full.mp4", torch.rand(30, 3, 128, 128), 8.0)


def test_unwritable_place_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.mp4", tmp_path):
        with pytest.raises(InputError, match="cannot write"):
            write_mp4(path, torch.zeros(2, 3, 32, 32), 8.0)


def test_missing_ffmpeg_and_missing_codec_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    with pytest.raises(RunError, match="does not start") as caught:
        write_mp4(tmp_path / "a.mp4", torch.zeros(2, 3, 32, 32), 8.0)
    assert "pip install" in caught.value.hint
    script = tmp_path / "ffmpeg"
    script.write_text("#!/bin/sh\necho \"Unknown encoder 'libx264'\" >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(script))
    with pytest.raises(RunError, match=r"no H\.264 encoder"):
        write_mp4(tmp_path / "a.mp4", torch.rand(20, 3, 256, 256), 8.0)


def test_reading_refuses_what_is_no_video(tmp_path: Path, moving: torch.Tensor) -> None:
    (tmp_path / "text.mp4").write_text("#EXTM3U\nfile:///etc/hostname\n")
    write_mp4(tmp_path / "a.mp4", moving, 8.0)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:300])
    for name in ("text.mp4", "cut.mp4", "missing.mp4", "."):
        with pytest.raises(InputError, match="cannot read"):
            read_mp4(tmp_path / name)
