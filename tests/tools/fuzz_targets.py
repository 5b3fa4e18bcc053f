"""What the fuzz campaign changes and runs: a valid file of every kind that the program reads, and what reads it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from stages.files.clip_folder import read_clip
from stages.files.colmap import read_colmap, write_colmap
from stages.files.exif import read_focals
from stages.files.image_decoding import decode
from stages.files.ply import read_ply
from stages.files.video import read_mp4
from stages.files.weight_tensors import read_pickled, read_safetensors
from stages.prior.load import load_prior  # before the campaign replaces it
from stages.scene import Cameras
from tests.cli.photographs import write_photographs
from videoscene_cli.app import run

ROOT = Path(__file__).resolve().parents[2]
HEIC = ROOT / "tests" / "files" / "data" / "turned.heic"
SHIPPED = ROOT / "stages" / "weights" / "small" / "prior.safetensors"
FORMATS = ("png", "jpg", "webp", "tif", "bmp", "gif", "jp2", "avif", "ppm")
SIZE = ("--size", "64")


@dataclass(frozen=True)
class Target:
    """One way in.

    file: the valid input, which is replaced by a changed one.  is_text: whether its tokens are changed too.
    arguments: a command line. OUT stands for the path of the result; STDIN means that the file goes to stdin.
    read: a reader that is called in place of a command.  check: looks at the result of exit code 0.
    """

    name: str
    file: Path
    is_text: bool
    arguments: tuple[str, ...] = ()
    read: Callable[[Path], Any] | None = None
    check: Callable[[Path], Any] | None = None


def make_targets(folder: Path) -> list[Target]:
    """Write the valid inputs into `folder`, with the program itself where it makes them, and list the ways in."""
    folder.mkdir(parents=True)
    a, b = write_photographs(folder)
    targets = []
    exif = Image.Exif()
    exif.get_ifd(0x8769)[41989] = 28
    for ending in FORMATS:
        path = folder / f"photo.{ending}"
        Image.open(a).save(path, **({"exif": exif} if ending in ("jpg", "webp", "png", "tif") else {}))
        targets.append(_photograph(path, b))
    shutil.copy(HEIC, folder / "photo.heic")
    targets.append(_photograph(folder / "photo.heic", b))
    targets += _lists(folder, a, b) + _cameras(folder, a, b) + _settings(folder, a, b)
    return targets + _scene(folder, a, b) + _weights(folder)


def _photograph(path: Path, other: Path) -> Target:
    def read(changed: Path) -> None:
        read_focals(changed)
        decode(changed)

    command = ("prior", str(path), str(other), "-o", "OUT", *SIZE)
    return Target(
        f"photograph-{path.suffix[1:]}",
        path,
        False,
        command,
        read,
        lambda out: read_ply(out / "prior" / "gaussians.ply"),
    )


def _lists(folder: Path, a: Path, b: Path) -> list[Target]:
    path = folder / "list.txt"
    record = json.dumps({"images": [str(a), str(b)], "out": str(folder / "OUT" / "j")})
    path.write_text(f"{a}\t{b}\t{folder}/OUT/s\n{a}\t{b}\n{record}\n")
    return [Target("list", path, True, ("prior", "STDIN", "-o", "OUT", "--dry-run", *SIZE))]


def _cameras(folder: Path, a: Path, b: Path) -> list[Target]:
    pose = torch.eye(4).tolist()
    frames = [{"file_path": path.name, "transform_matrix": pose, "k1": 0.0} for path in (a, b)]
    posed = folder / "posed"
    posed.mkdir()
    for path in (a, b):
        shutil.copy(path, posed)
    transforms = posed / "transforms.json"
    transforms.write_text(
        json.dumps({"camera_model": "OPENCV", "w": 96, "h": 64, "fl_x": 90.0, "cx": 48, "frames": frames}, indent=1)
    )
    entry = {"camera_to_world": torch.eye(4).flatten().tolist(), "fov": 50, "aspect": 1.5}
    nerfstudio = folder / "camera_path.json"
    nerfstudio.write_text(
        json.dumps({"render_width": 96, "render_height": 64, "camera_path": [entry, entry]}, indent=1)
    )
    model = folder / "colmap"
    cameras = Cameras(
        torch.eye(4).repeat(2, 1, 1), torch.tensor([[90.0, 0, 48], [0, 90, 32], [0, 0, 1]]).repeat(2, 1, 1), (64, 96)
    )
    write_colmap(model, cameras, [a.name, b.name])
    shutil.copytree(posed, model / "images")
    along = ("generate", str(a), str(b), "-o", "OUT.mp4", *SIZE, "--student", "none", "--path", str(nerfstudio))
    targets = [
        Target("transforms", transforms, True, ("reconstruct", str(posed), "-o", "OUT", "--dry-run")),
        Target("camera-path", nerfstudio, True, along, check=read_mp4),
    ]
    for name in ("cameras", "images"):
        file = model / "sparse" / "0" / f"{name}.bin"
        command = ("reconstruct", str(model), "-o", "OUT", "--dry-run")
        targets.append(Target(f"colmap-{name}", file, False, command, lambda path: read_colmap(path.parent)))
    return targets


def _settings(folder: Path, a: Path, b: Path) -> list[Target]:
    config = folder / "config.yaml"
    config.write_text("size: 64\nframes: 2\nfps: 8\npath: orbit\nstudent: none\nseed: 3\nforce: false\n")
    recipe = folder / "recipe.yaml"
    recipe.write_text((ROOT / "stages" / "distill" / "recipes" / "small.yaml").read_text())
    plan = ("generate", str(a), str(b), "-o", "OUT.mp4", "--dry-run", "--config", str(config))
    return [
        Target("config", config, True, plan),
        Target("recipe", recipe, True, ("distill", "-o", "OUT", "--dry-run", "--config", str(recipe))),
    ]


def _scene(folder: Path, a: Path, b: Path) -> list[Target]:
    scene = folder / "scene"
    assert run(["generate", str(a), str(b), "-o", str(scene), *SIZE, "--frames", "2", "--student", "none", "-q"]) == 0
    clip = folder / "clip"
    shutil.copytree(scene / "generate", clip)
    shutil.copy(scene / "prior" / "gaussians.ply", folder / "gaussians.ply")
    shutil.copy(scene / "generate" / "video.mp4", folder / "video.mp4")
    manifest, command = scene / "prior" / "manifest.json", ("render", str(scene), "--frames", "2", "-o", "OUT")
    return [
        Target("ply", folder / "gaussians.ply", False, read=read_ply),
        Target("video", folder / "video.mp4", False, read=read_mp4),
        Target("clip", clip / "transforms.json", True, read=lambda path: read_clip(path.parent)),
        Target("manifest", manifest, True, command, check=lambda out: read_clip(out / "render")),
    ]


def _weights(folder: Path) -> list[Target]:
    weights, pickled = folder / "prior.safetensors", folder / "prior.ckpt"
    shutil.copy(SHIPPED, weights)
    torch.save({"state_dict": {"a": torch.zeros(3), "b": torch.ones(2, 2)}}, pickled)
    return [
        Target(
            "weights", weights, False, read=lambda path: (read_safetensors(path), load_prior(path, torch.device("cpu")))
        ),
        Target("checkpoint", pickled, False, read=read_pickled),
    ]
