"""H.264 video through the ffmpeg that the package imageio-ffmpeg carries."""

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

CRF = 17  # x264's constant quality, 0 lossless to 51; differences from the frames are not visible here
MAX_VIDEO_PIXELS = 400_000_000  # of all frames read; as float32 they take 4.8 GB

# yuv420p with BT.709 colours, stated in the file, so that players do not have to guess the matrix from the frame size.
ROUNDING = "accurate_rnd+full_chroma_int+full_chroma_inp"  # swscale's default shifts colours by up to a level
COLOURS = f"scale=out_color_matrix=bt709:out_range=tv:flags={ROUNDING},format=yuv420p,setparams=color_primaries=bt709:color_trc=bt709"
# A stream cannot be rewound, so its index comes in fragments; a file gets its index in front, to start before it is loaded.
FRAGMENTED = ["-movflags", "+frag_keyframe+empty_moov+default_base_moof", "pipe:1"]
REINSTALL = "unset IMAGEIO_FFMPEG_EXE, then pip install --force-reinstall imageio-ffmpeg"


def write_mp4(target: Path | BinaryIO, frames: Tensor, fps: float) -> None:
    """Encode frames [T, 3, h, w] in [0, 1] as H.264 yuv420p, into a file (parents are created) or a binary stream (fragmented).

    The frames keep their size. Raises InputError on no frames, odd sides (yuv420p halves the colours) or fps <= 0; RunError on NaN,
    a full disk, a stream closed by its reader, or an ffmpeg that is missing or lacks H.264.
    """
    name = target if isinstance(target, Path) else "the video stream"
    what = f"cannot write {name}"
    count, _, height, width = frames.shape
    if count == 0 or height % 2 or width % 2 or min(height, width) < 2:
        raise InputError(what, f"{count} frames of {width} x {height} pixels", "give at least one frame with even sides")
    if not 0 < fps <= 1000:
        raise InputError(what, f"{fps} frames a second", "give a rate above 0, at most 1000")
    rate = str(Fraction(fps).limit_denominator(1001))
    command = [_ffmpeg(what), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate]
    command += ["-i", "pipe:0", "-an", "-c:v", "libx264", "-crf", str(CRF), "-vf", COLOURS, "-fflags", "+bitexact", "-f", "mp4"]
    if isinstance(target, Path):
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.open("wb").close()  # ffmpeg's own words for a place that cannot be written are less clear
        _encode([*command, "-movflags", "+faststart", f"file:{target}"], frames, None, name)
    else:
        _encode(command + FRAGMENTED, frames, target, name)


def _encode(command: list[str], frames: Tensor, stream: BinaryIO | None, name: Path | str) -> None:
    """Feed the frames to ffmpeg while its output, if any, is copied to the stream."""
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
            except BaseException:  # interrupted
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
        pass  # ffmpeg stopped early; its exit code and log say why
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
    return RunError(what, f"ffmpeg failed: {reason.splitlines()[-1] if reason else 'no message'}", "check the disk and run again")


def _ffmpeg(what: str) -> str:
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise RunError(what, "no ffmpeg was found", REINSTALL) from error


def read_mp4(path: Path) -> Tensor:
    """All frames of an mp4 or mov file as [T, 3, h, w], float32 in [0, 1].

    Raises InputError when it is missing, no such video, damaged, or of more than MAX_VIDEO_PIXELS in all its frames.
    """
    import imageio_ffmpeg

    hint = "give an mp4 file"
    require_file(path, hint)
    what = f"cannot read {path}"
    _ffmpeg(what)
    frames: list[Tensor] = []
    # Only this container and local files: a playlist dressed up as mp4 could name other files or hosts.
    source = ["-protocol_whitelist", "file", "-f", "mov"]
    # Each frame once, whatever its duration: by default those of a variable rate are repeated.
    output = ["-fps_mode", "passthrough", "-sws_flags", ROUNDING]
    reader = imageio_ffmpeg.read_frames(f"file:{path}", pix_fmt="rgb24", input_params=source, output_params=output)
    try:
        width, height = next(reader)["size"]
        for data in reader:
            frames.append(torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(height, width, 3))
            if len(frames) * width * height > MAX_VIDEO_PIXELS:
                raise InputError(what, f"more than {MAX_VIDEO_PIXELS // 10**6} million pixels in all", "cut it, or make it smaller")
    except (OSError, RuntimeError, StopIteration, KeyError) as error:
        raise InputError(what, "not a video that ffmpeg can decode, or damaged", hint) from error
    finally:
        reader.close()
    if not frames:
        raise InputError(what, "it has no frames", hint)
    clip = torch.stack(frames)
    frames.clear()
    return clip.permute(0, 3, 1, 2).contiguous().float().div_(255.0)
