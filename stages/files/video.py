"""H.264 video, through the ffmpeg program that the package imageio-ffmpeg contains."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import IO, Protocol

import torch
from torch import Tensor

from stages.errors import InputError, RunError
from stages.files.images import as_bytes
from stages.files.os_errors import require_file, writing

CRF = 17  # x264's quality, from 0 (lossless) to 51; at 17 the difference from the frames is not visible
MAX_VIDEO_PIXELS = 400_000_000  # largest number of pixels in all frames of a video that is read; 4.8 GB as float32

# Where ffmpeg puts the index of a file: in front, so that playback can begin before all of it is loaded, or spread over
# fragments, so that the file can be sent as a stream.
IN_FRONT, FRAGMENTED = "+faststart", "+frag_keyframe+empty_moov+default_base_moof"
# Flags of swscale for exact colours. Its default is off by up to one level of 255.
ROUNDING = "accurate_rnd+full_chroma_int+full_chroma_inp"
# The file is yuv420p and says that its colours are BT.709. Otherwise players guess that from the frame size.
COLOURS = (
    f"scale=out_color_matrix=bt709:out_range=tv:flags={ROUNDING},"
    "format=yuv420p,setparams=color_primaries=bt709:color_trc=bt709"
)
REINSTALL = "unset IMAGEIO_FFMPEG_EXE, then pip install --force-reinstall imageio-ffmpeg"


class Frames(Protocol):
    """The frames of a video: a tensor [T, 3, h, w], or what makes them one by one. In [0, 1] or uint8."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __iter__(self) -> Iterator[Tensor]: ...


def write_mp4(path: Path, frames: Frames, fps: float, fragmented: bool = False) -> None:
    """Encode frames as H.264 yuv420p. Frames that are made one by one are made while earlier ones are encoded.

    fragmented: spread the index of the file over fragments. The frames keep their size. Parent folders are created.

    Raises InputError on no frames, odd sides (yuv420p has colours at half the size) or fps <= 0; RunError on NaN, a
    full disk, or an ffmpeg that is missing or lacks H.264.
    """
    what = f"cannot write {path}"
    count, _, height, width = frames.shape
    if count == 0 or height % 2 or width % 2 or min(height, width) < 2:
        why = f"{count} frames of {width} x {height} pixels"
        raise InputError(what, why, "give at least one frame, with even sides")
    if not 0 < fps <= 1000:
        raise InputError(what, f"{fps} frames per second", "give a rate above 0, at most 1000")
    rate = str(Fraction(fps).limit_denominator(1001))
    command = [_ffmpeg(what), "-y", "-loglevel", "error"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "pipe:0"]
    command += ["-an", "-c:v", "libx264", "-crf", str(CRF), "-vf", COLOURS, "-fflags", "+bitexact", "-f", "mp4"]
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("wb").close()  # a path that cannot be written gives a clearer error here than from ffmpeg
    # ffmpeg's messages go to a file, so that it never waits until they are read.
    with tempfile.TemporaryFile() as log:
        command += ["-movflags", FRAGMENTED if fragmented else IN_FRONT, f"file:{path}"]
        with _started(command, log, what) as process:
            _feed(process, frames, path)
        log.seek(0)
        reason = log.read().decode("utf-8", "replace").strip()
    if process.returncode != 0:
        raise _encoder_failure(what, reason)


def _started(command: list[str], log: IO[bytes], what: str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
    except OSError as error:
        raise RunError(what, f"{command[0]} does not start: {error.strerror}", REINSTALL) from error


def _feed(process: subprocess.Popen[bytes], frames: Frames, path: Path) -> None:
    """Write the frames to ffmpeg's input and close it."""
    assert process.stdin is not None
    try:
        for frame in frames:
            process.stdin.write(as_bytes(frame, path).cpu().permute(1, 2, 0).contiguous().numpy().data)
    except BrokenPipeError:
        pass  # ffmpeg stopped early, and its exit code and log say why
    except BaseException:  # NaN in a frame, or KeyboardInterrupt
        process.kill()
        raise
    finally:
        with suppress(OSError):
            process.stdin.close()


def _encoder_failure(what: str, reason: str) -> RunError:
    if "No space left" in reason or "File too large" in reason:
        return RunError(what, "no space left on the disk", "free some space, or write to another disk")
    if "Unknown encoder" in reason:
        return RunError(what, "this ffmpeg has no H.264 encoder (libx264)", REINSTALL)
    last_line = reason.splitlines()[-1] if reason else "no message"
    return RunError(what, f"ffmpeg failed: {last_line}", "check the disk and run again")


def _ffmpeg(what: str) -> str:
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise RunError(what, "there is no ffmpeg", REINSTALL) from error


def read_mp4(path: Path) -> Tensor:
    """Read all frames of an mp4 or mov file as [T, 3, h, w], float32 in [0, 1].

    Raises InputError when it is missing, not such a video, damaged, or larger than MAX_VIDEO_PIXELS.
    """
    import imageio_ffmpeg

    hint = "give an mp4 file"
    require_file(path, hint)
    what = f"cannot read {path}"
    _ffmpeg(what)
    frames: list[Tensor] = []
    # Only this container and local files are opened: a playlist renamed to mp4 could name other files or hosts.
    source = ["-protocol_whitelist", "file", "-f", "mov"]
    # Every frame is read once. By default ffmpeg repeats frames of a video with a variable frame rate.
    output = ["-fps_mode", "passthrough", "-sws_flags", ROUNDING]
    reader = imageio_ffmpeg.read_frames(f"file:{path}", pix_fmt="rgb24", input_params=source, output_params=output)
    try:
        width, height = next(reader)["size"]
        for data in reader:
            frames.append(torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(height, width, 3))
            if len(frames) * width * height > MAX_VIDEO_PIXELS:
                why = f"its frames have more than {MAX_VIDEO_PIXELS // 10**6} million pixels in total"
                raise InputError(what, why, "shorten it, or make it smaller")
    except (OSError, RuntimeError, StopIteration, KeyError) as error:
        raise InputError(what, "not a video that ffmpeg can decode, or damaged", hint) from error
    finally:
        reader.close()
    if not frames:
        raise InputError(what, "it has no frames", hint)
    clip = torch.stack(frames)
    frames.clear()
    return clip.permute(0, 3, 1, 2).contiguous().float().div_(255.0)
