"""RealEstate10K and ACID as pixelSplat publishes them: chunks (`000000.torch`) of posed video frames.

A chunk is a list of scenes saved with torch. A scene is a dict with `key`, `url`, `timestamps` [N], `cameras` [N, 18]
and `images`, N tensors of encoded bytes. A row of `cameras` is fx, fy, cx, cy as shares of width and height, two zeros,
and the first three rows of the world-to-camera matrix (x right, y down, z forward).
Source: pixelSplat's README and src/dataset/dataset_re10k.py.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stages.errors import InputError
from stages.files.documents import read_json
from stages.files.image_decoding import MAX_PIXELS
from stages.files.os_errors import require_file
from stages.scene import Cameras

INDEX = "index.json"  # maps the key of a scene to the file name of its chunk
HINT = "give a chunk of pixelSplat's RealEstate10K or ACID"
NUMBERS = 18  # columns of `cameras`
FORMATS = ("JPEG", "PNG")  # image formats that are accepted in a chunk


@dataclass(frozen=True, eq=False)
class Recording:
    """One scene of a chunk: a video with a camera for each of its N frames.

    key: the scene's name.  intrinsics: [N, 4], float64, fx, fy, cx, cy as shares of width and height.
    c2w: [N, 4, 4], float64, OpenCV camera-to-world.  encoded: N uint8 tensors, each the bytes of one JPEG.
    """

    key: str
    intrinsics: Tensor
    c2w: Tensor
    encoded: list[Tensor]

    def __len__(self) -> int:
        return len(self.encoded)

    def image(self, index: int) -> Tensor:
        """Decode one frame: [3, h, w], float32 in [0, 1]. Raises InputError when it is damaged."""
        what = f"cannot read frame {index} of {self.key}"
        try:
            data = io.BytesIO(self.encoded[index].numpy().tobytes())
            with Image.open(data, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(what, f"{image.width} x {image.height} pixels", HINT)
                pixels = np.array(image.convert("RGB"))
        except InputError:
            raise
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError and more on damaged files
            raise InputError(what, str(error) or type(error).__name__, "download the chunk again") from error
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float() / 255

    def cameras(self, indices: list[int], size: tuple[int, int]) -> Cameras:
        """The cameras of the frames `indices`, for images of `size` (h, w). Raises InputError if they are invalid."""
        h, w = size
        K = torch.eye(3, dtype=torch.float64).repeat(len(indices), 1, 1)
        K[:, (0, 1, 0, 1), (0, 1, 2, 2)] = self.intrinsics[indices] * torch.tensor([w, h, w, h], dtype=torch.float64)
        return Cameras(self.c2w[indices], K, size)


def read_chunk(path: Path) -> list[Recording]:
    """Read all scenes of a chunk; images stay encoded. Raises InputError if it is missing, damaged or not a chunk."""
    require_file(path, HINT)
    try:
        scenes = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly any exception for a file that it did not save
        raise InputError(f"cannot read {path}", " ".join(str(error).split())[:200], HINT) from error
    if not isinstance(scenes, list) or not scenes:
        raise InputError(f"cannot read {path}", "it is not a list of scenes", HINT)
    return [_recording(path, scene) for scene in scenes]


def find_recording(folder: Path, key: str) -> Path:
    """The path of the chunk that holds the scene `key`, from index.json. Raises InputError if there is none."""
    index = read_json(folder / INDEX)
    name = index.get(key) if isinstance(index, dict) else None
    if not isinstance(name, str) or Path(name).name != name:
        why, hint = f"{INDEX} names no chunk for it", "give the folder of the split (train or test) that it belongs to"
        raise InputError(f"no scene {key} in {folder}", why, hint)
    return folder / name


def _recording(path: Path, scene: Any) -> Recording:
    what = f"cannot read {path}"
    try:
        key, rows, encoded = scene["key"], scene["cameras"].double(), list(scene["images"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(what, f"a scene lacks {error}", HINT) from error
    if not isinstance(key, str) or not key or Path(key).name != key:
        raise InputError(what, f"a scene is called {key!r}", HINT)
    if rows.shape != (len(encoded), NUMBERS) or not bool(torch.isfinite(rows).all()):
        shapes = f"{len(encoded)} images and cameras of shape {tuple(rows.shape)}"
        raise InputError(what, f"{key} has {shapes}, or cameras that are not finite", HINT)
    if not all(isinstance(image, Tensor) and image.dtype == torch.uint8 and image.dim() == 1 for image in encoded):
        raise InputError(what, f"the images of {key} are not encoded bytes", HINT)
    w2c = torch.eye(4, dtype=torch.float64).repeat(len(rows), 1, 1)
    w2c[:, :3] = rows[:, 6:].view(-1, 3, 4)
    if not bool((torch.linalg.det(w2c) > 0).all()):
        raise InputError(what, f"a camera of {key} has no pose", HINT)
    return Recording(key, rows[:, :4], torch.linalg.inv(w2c), encoded)
