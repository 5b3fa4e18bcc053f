"""H.264 video, through the ffmpeg program that the package imageio-ffmpeg contains."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import IO, BinaryIO

import torch
from torch import Tensor

from stages.errors import InputError, RunError, StageError
from stages.files.images import to_bytes
from stages.files.os_errors import require_file, write_failure, writing

CRF = 17  # x264's quality, from 0 (lossless) to 51; at 17 the difference from the frames is not visible
MAX_VIDEO_PIXELS = 400_000_000  # largest number of pixels in all frames of a video that is read; 4.8 GB as float32

ROUNDING = "accurate_rnd+full_chroma_int+full_chroma_inp"  # swscale's default shifts colours by up to one level of 255
# The file is yuv420p and says that its colours are BT.709. Otherwise players guess the colour matrix from the frame
# size.
COLOURS = (
    f"scale=out_color_matrix=bt709:out_range=tv:flags={ROUNDING},"
    "format=yuv420p,setparams=color_primaries=bt709:color_trc=bt709"
)
# A stream cannot be rewound, so its index is spread over fragments. A file has its index in front (+faststart), so that
# playback can begin before all of it is loaded.
FRAGMENTED = ["-movflags", "+frag_keyframe+empty_moov+default_base_moof", "pipe:1"]
REINSTALL = "unset IMAGEIO_FFMPEG_EXE, then pip install --force-reinstall imageio-ffmpeg"


def write_mp4(target: Path | BinaryIO, frames: Tensor, fps: float) -> None:
    """Encode frames [T, 3, h, w] in [0, 1] as H.264 yuv420p into a file or, fragmented, into a binary stream.

    The frames keep their size. Parent folders are created. Raises InputError on no frames, odd sides (yuv420p has
    colours at half the size) or fps <= 0; RunError on NaN, a full disk, a stream closed by its reader, or an ffmpeg
    that is missing or lacks H.264.
    """
    name = target if isinstance(target, Path) else "the video stream"
    what = f"cannot write {name}"
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
    if isinstance(target, Path):
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.open("wb").close()  # a path that cannot be written gives a clearer error here than from ffmpeg
        _encode([*command, "-movflags", "+faststart", f"file:{target}"], frames, None, name)
    else:
        _encode(command + FRAGMENTED, frames, target, name)


def _encode(command: list[str], frames: Tensor, stream: BinaryIO | None, name: Path | str) -> None:
    """Write the frames to ffmpeg's input and, if there is a stream, copy ffmpeg's output to it at the same time."""
    failures: list[StageError] = []
    output = subprocess.DEVNULL if stream is None else subprocess.PIPE
    with tempfile.TemporaryFile() as log:
        with _started(command, output, log, name) as process:
            assert process.stdin is not None
            feeder = threading.Thread(target=_feed, args=(process.stdin, frames, name, failures))
            feeder.start()
            try:
                if stream is not None and process.stdout is not None:
                    shutil.copyfileobj(process.stdout, stream)
                    stream.flush()
            except OSError as error:
                failures.append(write_failure(name, error))
                process.kill()
            except BaseException:  # such as KeyboardInterrupt
                process.kill()
                raise
            finally:
                feeder.join()
        log.seek(0)
        reason = log.read().decode("utf-8", "replace").strip()
    if failures:
        raise failures[0]
    if process.returncode != 0:
        raise _encoder_failure(f"cannot write {name}", reason)


def _started(command: list[str], output: int, log: IO[bytes], name: Path | str) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=log)
    except OSError as error:
        raise RunError(f"cannot write {name}", f"{command[0]} does not start: {error.strerror}", REINSTALL) from error


def _feed(stdin: IO[bytes], frames: Tensor, name: Path | str, failures: list[StageError]) -> None:
    try:
        for frame in frames:
            stdin.write(to_bytes(frame, name).permute(1, 2, 0).contiguous().numpy().data)
    except BrokenPipeError:
        pass  # ffmpeg stopped early, and its exit code and log say why
    except StageError as error:
        failures.append(error)
    finally:
        with suppress(OSError):
            stdin.close()


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
    # Only this container and local files, because a playlist renamed to mp4 could name other files or hosts.
    source = ["-protocol_whitelist", "file", "-f", "mov"]
    # Every frame once. By default ffmpeg repeats frames of a video with a variable frame rate.
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
