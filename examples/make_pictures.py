"""Make the README's pictures from a finished scene folder of the demo pair: `make pictures`.

room.webp moves along the result, there and back. strip.jpg shows the photographs, the depth of the first one, and the
frame in the middle of the path, rendered and repaired.
"""

import sys
from pathlib import Path

from PIL import Image

from stages.evaluate.kept_frames import colours
from stages.files.clip_folder import read_views

WIDTH, PACE = 480, 45  # of the moving picture, px; milliseconds per frame in the middle of the path
HEIGHT, GAP = 256, 8  # of the strip, px; between its pictures


def moving_picture(frames: list[Path], out: Path) -> None:
    """Write frames as an animated WebP. It moves there and back, and more slowly near its ends."""
    pictures = [Image.open(path) for path in frames]
    height = round(WIDTH * pictures[0].height / pictures[0].width)
    small = [picture.resize((WIDTH, height), Image.Resampling.LANCZOS) for picture in pictures]
    last = len(small) - 1
    order = [*range(last + 1), *range(last - 1, 0, -1)]
    pace = [round(PACE * (1 + 2 * abs(2 * k / last - 1) ** 6)) for k in order]
    first, *rest = (small[k] for k in order)
    first.save(out, save_all=True, append_images=rest, duration=pace, loop=0, quality=72, method=4)


def strip(scene: Path, out: Path) -> None:
    """Write the pictures of the stages side by side."""
    depth = read_views(scene / "prior").depth
    assert depth is not None, "a prior has depth"
    near = (colours([depth[0]])[0] * 255).round().byte().permute(1, 2, 0).numpy()
    middle = sorted((scene / "render" / "frames").iterdir())
    name = middle[len(middle) // 2].name
    paths = [scene / "inputs" / "0.png", scene / "inputs" / "1.png"]
    repaired = [scene / stage / "frames" / name for stage in ("render", "generate")]
    pictures = [*map(Image.open, paths), Image.fromarray(near), *map(Image.open, repaired)]
    width = round(HEIGHT * pictures[0].width / pictures[0].height)
    sheet = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, HEIGHT), "white")
    for k, picture in enumerate(pictures):
        sheet.paste(picture.resize((width, HEIGHT), Image.Resampling.LANCZOS), (k * (width + GAP), 0))
    sheet.save(out, quality=88)


def main(scene: Path) -> None:
    """Write both pictures beside this file."""
    folder = Path(__file__).parent
    moving_picture(sorted((scene / "generate" / "frames").iterdir()), folder / "room.webp")
    strip(scene, folder / "strip.jpg")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
