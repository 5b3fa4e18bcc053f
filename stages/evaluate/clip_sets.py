"""Compare a set of generated clips with a set of real ones; they need not show the same scenes.

It measures the distance between the sets, and the flicker and motion of each clip.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.errors import InputError, RunError
from stages.files.image_decoding import photographs_in
from stages.files.images import as_in_png, read_image
from stages.files.video import read_mp4
from stages.metrics import fvd, temporal
from stages.metrics.i3d import I3D

PROTOCOL = {
    "name": "sets",
    "version": 1,
    "clips": "folders of frames in order of name, or mp4 files; all of one length and size",
    **fvd.PROTOCOL,
    **temporal.PROTOCOL,
}


def find_clips(folder: Path) -> list[Path]:
    """The clips of a set, sorted by name: mp4 files and folders of frames in `folder`.

    Raises InputError if it has none.
    """
    clips = sorted(
        path
        for path in folder.glob("[!.]*")  # without hidden files
        if path.suffix.lower() == ".mp4" or (path.is_dir() and frames_of(path))
    )
    if not clips:
        why = "it holds neither mp4 files nor folders of frames"
        raise InputError(f"no clips in {folder}", why, "give a folder of clips")
    return clips


def frames_of(clip: Path) -> list[Path]:
    """The files of a clip, sorted by name: an mp4 file itself, or the images in a folder or in its folder frames/."""
    if clip.is_file():
        return [clip]
    folder = clip / "frames" if (clip / "frames").is_dir() else clip
    return photographs_in(folder)


def read_frames(clip: Path) -> Tensor:
    """Read a clip: [T, 3, h, w] in [0, 1]. Raises InputError if it cannot be read or its frames differ in size."""
    if clip.is_file():
        return read_mp4(clip)
    images = [read_image(path) for path in frames_of(clip)]
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) > 1:
        why = f"its frames are of {len(sizes)} sizes: {sorted(sizes)}"
        raise InputError(f"cannot use the clip {clip}", why, "give frames of one size")
    return torch.stack(images)


def measure_clip(frames: Tensor, network: I3D) -> dict[str, Any]:
    """The figures of one clip from which sets are compared: length, size, flicker, motion, I3D logits.

    frames: [T, 3, h, w], T >= 9.
    """
    frames = as_in_png(frames)
    return {
        "frames": len(frames),
        "size": [frames.shape[3], frames.shape[2]],
        "temporal flickering": float(temporal.flickering(frames).mean()),
        "mean flow": float(temporal.mean_flow(frames).mean()),
        "i3d": fvd.clip_features(network, frames).tolist(),
    }


def compare_sets(real: Mapping[str, Mapping[str, Any]], fake: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The distances of two sets. real, fake: clip name -> figures of `measure_clip`.

    Raises InputError if lengths or sizes differ or a set has fewer than two clips, RunError if both sets are empty.
    """
    if not real and not fake:
        why = "no clip of either set could be measured"
        raise RunError("no distance of the sets", why, "repair the clips named above")
    shapes = {name: (clip["frames"], *clip["size"]) for name, clip in [*real.items(), *fake.items()]}
    if len(set(shapes.values())) > 1:
        one_of_each = {shape: name for name, shape in reversed(shapes.items())}  # the first of each shape
        examples = [f"{name} {frames} of {w} x {h}" for (frames, w, h), name in sorted(one_of_each.items())]
        why = f"frames: {', '.join(examples)}"
        raise InputError("clips of different lengths or sizes", why, "cut and resize them to one length and size")
    logits = [torch.tensor([clip["i3d"] for clip in clips.values()]) for clips in (real, fake)]
    frames, width, height = next(iter(shapes.values()))
    return {
        "frames": frames,
        "size": [width, height],
        "fvd": fvd.frechet_distance(*logits),
        "kvd": fvd.kernel_distance(*logits),
        "real": _means(list(real.values())),
        "fake": _means(list(fake.values())),
    }


def _means(clips: Sequence[Mapping[str, Any]]) -> dict[str, float | int]:
    mean = {name: sum(clip[name] for clip in clips) / len(clips) for name in ("temporal flickering", "mean flow")}
    return {"clips": len(clips), **mean}
