"""The frames that `--keep` keeps, and the sheets that are drawn from them: what went in, what came out, what is true.

KEPT/METHOD/CASE   frames/0000.png... (the targets), transforms.json, video.mp4, depth/0000.png... where the method knows it
KEPT/truth/CASE    inputs/{0,1}.png, frames/0000.png...
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from stages.evaluate.cases import Task
from stages.evaluate.protocol import SEEN, Made
from stages.files.clip_folder import write_clip
from stages.files.depth_maps import read_depth
from stages.files.images import read_image, write_png
from stages.files.publish import publish
from stages.scene import Clip

TRUTH = "truth"
COLUMNS = 5  # targets on a sheet, evenly
TILE, MARGIN, LABEL = 144, 4, 18  # px: height of a picture, space between pictures, height of a line of text
ERROR_GAIN = 3.0  # errors are shown this many times
RAMP = [(48, 18, 59), (40, 120, 230), (40, 210, 170), (190, 230, 50), (250, 170, 40), (180, 30, 10)]  # far to near


def keep_frames(kept: Path, method: str, name: str, made: Made) -> None:
    """Write what a method made of a case, with its depth."""
    cameras = made.cameras[list(range(2, len(made.cameras)))]
    depth = made.depth
    if depth is not None and made.coverage is not None:
        depth = torch.where(made.coverage >= SEEN, depth, 0)[2:]
    with publish(kept / method / name) as partial:
        write_clip(partial, Clip(made.frames[2:], cameras, depth=depth))


def keep_truth(kept: Path, name: str, task: Task) -> None:
    """Write what is true of a case: the two photographs and the frames between them."""
    with publish(kept / TRUTH / name) as partial:
        for index, image in enumerate(task.context.images):
            write_png(partial / "inputs" / f"{index}.png", image)
        for index, image in enumerate(task.truth):
            write_png(partial / "frames" / f"{index:04d}.png", image)


def sheet(kept: Path, name: str, methods: list[str]) -> Tensor:
    """The sheet of a case: inputs, truth, and of each method its frames, their error and their depth. Returns [3, h, w] in [0, 1].

    Raises InputError when a kept frame cannot be read.
    """
    truth = kept / TRUTH / name
    count = len(list((truth / "frames").glob("*.png")))
    shown = torch.linspace(0, count - 1, min(COLUMNS, count)).round().long().tolist()
    true = [read_image(truth / "frames" / f"{index:04d}.png", min_side=1) for index in shown]
    rows = [
        ("the two photographs", [read_image(truth / "inputs" / f"{index}.png", min_side=1) for index in (0, 1)]),
        (f"truth, frames {', '.join(str(index) for index in shown)} of {count}", true),
    ]
    for method in methods:
        folder = kept / method / name
        frames = [read_image(folder / "frames" / f"{index:04d}.png", min_side=1) for index in shown]
        rows.append((method, frames))
        errors = [(ERROR_GAIN * (a - b).abs()).clamp(0, 1) for a, b in zip(frames, true, strict=True)]
        rows.append((f"{method}: error, {ERROR_GAIN:g} times", errors))
        if (folder / "depth").is_dir():
            rows.append(
                (f"{method}: depth, near is red", colours([read_depth(folder / "depth" / f"{index:04d}.png", 1) for index in shown]))
            )
    return compose(rows)


def colours(depths: list[Tensor]) -> list[Tensor]:
    """Depth maps [h, w] as pictures [3, h, w], on one scale of inverse depth; black where nothing is known (0)."""
    inverse = torch.stack([torch.where(depth > 0, 1 / depth.clamp_min(1e-6), 0) for depth in depths])
    known = inverse[inverse > 0]
    if len(known) == 0:
        return [torch.zeros(3, *depth.shape) for depth in depths]
    low, high = (float(known[:: max(1, len(known) // 100_000)].quantile(share)) for share in (0.02, 0.98))
    place = ((inverse - low) / max(high - low, 1e-12)).clamp(0, 1) * (len(RAMP) - 1)
    ramp = torch.tensor(RAMP) / 255
    below = place.floor().long().clamp(max=len(RAMP) - 2)
    share = (place - below)[..., None]
    pictures = (1 - share) * ramp[below] + share * ramp[below + 1]
    return list((pictures * (inverse > 0)[..., None]).permute(0, 3, 1, 2))


def compose(rows: list[tuple[str, list[Tensor]]]) -> Tensor:
    """Rows of pictures, each under its name, on white. Returns [3, h, w]."""
    tiles = [[_tile(picture) for picture in pictures] for _, pictures in rows]
    width = MARGIN + max(sum(tile.shape[2] + MARGIN for tile in row) for row in tiles)
    canvas = Image.new("RGB", (width, MARGIN + len(rows) * (TILE + LABEL + MARGIN)), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    y = MARGIN
    for (name, _), row in zip(rows, tiles, strict=True):
        pen.text((MARGIN, y), name, "black", font)
        x = MARGIN
        for tile in row:
            canvas.paste(Image.fromarray((tile * 255).round().byte().permute(1, 2, 0).numpy()), (x, y + LABEL))
            x += tile.shape[2] + MARGIN
        y += TILE + LABEL + MARGIN
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1).float() / 255


def _tile(picture: Tensor) -> Tensor:
    h, w = picture.shape[1:]
    return F.interpolate(picture[None], (TILE, max(1, round(w * TILE / h))), mode="bilinear", antialias=True)[0].clamp(0, 1)
