"""The frames that `--keep` stores, and contact sheets of them: photographs, results and truth side by side.

KEPT/METHOD/CASE   frames/0000.png... (the targets), transforms.json, video.mp4, depth/0000.png... (if known)
KEPT/truth/CASE    inputs/{0,1}.png, frames/0000.png...
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from stages.evaluate.cases import Task
from stages.evaluate.protocol import SEEN, MethodResult
from stages.files.clip_folder import write_clip
from stages.files.depth_maps import read_depth
from stages.files.images import read_image, write_png
from stages.files.publish import publish
from stages.files.stored_clip import StoredClip
from stages.scene import Clip

TRUTH = "truth"  # folder of the true frames
COLUMNS = 5  # number of evenly spaced targets on a sheet
TILE, MARGIN, LABEL = 144, 4, 18  # pixels: height of a picture, space between pictures, height of a line of text
ERROR_GAIN = 3.0  # factor by which errors are brightened
RAMP = [(48, 18, 59), (40, 120, 230), (40, 210, 170), (190, 230, 50), (250, 170, 40), (180, 30, 10)]  # RGB, far to near


def keep_frames(kept: Path, method: str, name: str, result: MethodResult) -> None:
    """Store the frames of a method for a case, with their depth."""
    depth = result.depth
    if depth is not None and result.coverage is not None:
        depth = torch.where(result.coverage >= SEEN, depth, 0)[2:]
    with publish(kept / method / name) as partial:
        write_clip(partial, StoredClip.of(Clip(result.frames[2:], result.cameras[2:], depth=depth)))


def keep_truth(kept: Path, name: str, task: Task) -> None:
    """Store the truth of a case: the two photographs and the frames between them."""
    with publish(kept / TRUTH / name) as partial:
        for index, image in enumerate(task.context.images):
            write_png(partial / "inputs" / f"{index}.png", image)
        for index, image in enumerate(task.truth):
            write_png(partial / "frames" / f"{index:04d}.png", image)


def sheet(kept: Path, name: str, methods: list[str]) -> Tensor:
    """The contact sheet of a case: photographs, truth, and each method's frames, errors and depth: [3, h, w] in [0, 1].

    Raises InputError when a stored frame cannot be read.
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
            depths = [read_depth(folder / "depth" / f"{index:04d}.png", 1) for index in shown]
            rows.append((f"{method}: depth, near is red", colours(depths)))
    return compose(rows)


def colours(depths: list[Tensor]) -> list[Tensor]:
    """Depth maps [h, w] as pictures [3, h, w], on a common scale of inverse depth. Unknown depth (0) is black."""
    inverse = torch.stack([torch.where(depth > 0, 1 / depth.clamp_min(1e-6), 0) for depth in depths])
    positive = inverse[inverse > 0]
    if len(positive) == 0:
        return [torch.zeros(3, *depth.shape) for depth in depths]
    low, high = (float(positive[:: max(1, len(positive) // 100_000)].quantile(share)) for share in (0.02, 0.98))
    position = ((inverse - low) / max(high - low, 1e-12)).clamp(0, 1) * (len(RAMP) - 1)
    ramp = torch.tensor(RAMP) / 255
    below = position.floor().long().clamp(max=len(RAMP) - 2)
    share = (position - below)[..., None]
    pictures = (1 - share) * ramp[below] + share * ramp[below + 1]
    return list((pictures * (inverse > 0)[..., None]).permute(0, 3, 1, 2))


def compose(rows: list[tuple[str, list[Tensor]]], height: int = TILE) -> Tensor:
    """A white canvas with rows of pictures, each row under its name: [3, h, w].

    height: of a picture, px.
    """
    tiles = [[_tile(picture, height) for picture in pictures] for _, pictures in rows]
    width = MARGIN + max(sum(tile.shape[2] + MARGIN for tile in row) for row in tiles)
    canvas = Image.new("RGB", (width, MARGIN + len(rows) * (height + LABEL + MARGIN)), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    y = MARGIN
    for (name, _), row in zip(rows, tiles, strict=True):
        pen.text((MARGIN, y), name, "black", font)
        x = MARGIN
        for tile in row:
            canvas.paste(Image.fromarray((tile * 255).round().byte().permute(1, 2, 0).numpy()), (x, y + LABEL))
            x += tile.shape[2] + MARGIN
        y += height + LABEL + MARGIN
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1).float() / 255


def _tile(picture: Tensor, height: int) -> Tensor:
    h, w = picture.shape[1:]
    size = (height, max(1, round(w * height / h)))
    return F.interpolate(picture[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
