"""A furniture pack: many models in one file of plain arrays, small enough to send to another machine.

The file is an npz without pickled objects:
  name, category, role, catalogue   [M], text
  size                              [M, 3], width, depth and height, metres
  elevation                         [M], height above the floor, metres
  box                               [M, 2, 3], float32, lowest and highest corner of each model
  vertex                            [V, 3], uint16, position in the box: 0 is its lowest corner and 65535 its highest
  uv                                [V, 2], float16
  face                              [T, 3], uint16, numbers of the model's vertices
  normal                            [T, 3, 3], int8, of each corner, times 127
  material                          [T], uint16
  vertex_start, face_start          [M + 1], where the vertices and faces of each model begin
  colour, gloss, picture            [K, 3], uint8; [K], uint8; [K], int16, -1 for none: the materials
  jpeg, jpeg_start                  [B], uint8, square pictures one after the other; [P + 1], where each begins
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.errors import InputError
from stages.files.publish import publish
from stages.worlds.furnished.catalogue import Model, Part
from stages.worlds.furnished.simplify import corner_normals
from stages.worlds.furnished.vectors import Floats, Integers

PER_MODEL = ["name", "category", "role", "catalogue", "size", "elevation", "box", "vertex_start", "face_start"]
ARRAYS = [*PER_MODEL, "vertex", "uv", "face", "normal", "material", "colour", "gloss", "picture", "jpeg", "jpeg_start"]


@dataclass(frozen=True)
class Shape:
    """One model as it is placed in a world.

    size: width, depth, height, metres.  elevation: height above the floor, metres.
    vertices: [V, 3], metres.  corners: [T, 3], the vertices of each triangle.
    normals: [T, 3, 3], of the corners, unit length.  uv: [T, 3, 2].  material: [T], index into `Pack`.
    """

    name: str
    role: str
    size: tuple[float, float, float]
    elevation: float
    vertices: Floats
    corners: Integers
    normals: Floats
    uv: Floats
    material: Integers


@dataclass(frozen=True)
class Pack:
    """The models of a pack and their materials.

    colour: [K, 3], sRGB in [0, 1].  gloss: [K] in [0, 1].  picture: [K], index into `pictures`, or -1.
    pictures: [P, side, side, 3], uint8.
    """

    shapes: list[Shape]
    colour: Floats
    gloss: Floats
    picture: Integers
    pictures: NDArray[np.uint8]


def write_pack(path: Path, models: list[tuple[Model, str]], side: int) -> None:
    """Write models, each with its role, as a pack. side: of the pictures, px."""
    columns: dict[str, list[NDArray[np.generic]]] = {
        key: [] for key in ("vertex", "uv", "box", "face", "normal", "material")
    }
    vertex_start, face_start, gloss, pictures = [0], [0], list[int](), list[int]()
    colours, known = list[NDArray[np.floating]](), dict[bytes, int]()
    for model, _ in models:
        parts = model.parts
        vertices = np.concatenate([part.vertices for part in parts])
        faces = np.concatenate([part.faces + first for part, first in zip(parts, _starts(parts), strict=True)])
        low, high = vertices.min(0), vertices.max(0)
        steps = (vertices - low) / np.maximum(high - low, 1e-9) * 65535
        columns["vertex"].append(np.round(steps).astype(np.uint16))
        columns["uv"].append(np.concatenate([_uv(part) for part in parts]).astype(np.float16))
        columns["box"].append(np.stack([low, high])[None].astype(np.float32))
        columns["face"].append(faces.astype(np.uint16))
        columns["normal"].append(np.round(corner_normals(vertices, faces) * 127).astype(np.int8))
        columns["material"].append(
            np.repeat(np.arange(len(parts)) + len(colours), [len(part.faces) for part in parts]).astype(np.uint16)
        )
        vertex_start.append(vertex_start[-1] + len(vertices))
        face_start.append(face_start[-1] + len(faces))
        for part in parts:
            colours.append(np.round(part.colour * 255))
            gloss.append(round(part.gloss * 255))
            if part.picture is None:
                pictures.append(-1)
                continue
            coded = _jpeg(part.picture, side)
            pictures.append(known.setdefault(coded, len(known)))
    arrays: dict[str, NDArray[np.generic]] = {
        "name": np.array([model.name for model, _ in models]),
        "category": np.array([model.category for model, _ in models]),
        "role": np.array([role for _, role in models]),
        "catalogue": np.array([model.catalogue for model, _ in models]),
        "size": np.array([model.size for model, _ in models], np.float32),
        "elevation": np.array([model.elevation for model, _ in models], np.float32),
        "vertex_start": np.array(vertex_start),
        "face_start": np.array(face_start),
        "colour": np.array(colours, np.uint8),
        "gloss": np.array(gloss, np.uint8),
        "picture": np.array(pictures, np.int16),
        "jpeg": np.frombuffer(b"".join(known), np.uint8),
        "jpeg_start": np.cumsum([0, *(len(coded) for coded in known)]),
        **{key: np.concatenate(value) for key, value in columns.items()},
    }
    with publish(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_pack(path: Path) -> Pack:
    """Read a pack. Raises InputError if there is no file or it is not a pack."""
    hint = "make one with `make furniture` (README, Development)"
    if not path.is_file():
        raise InputError(f"no furniture pack at {path}", "there is no such file", hint)
    try:
        with np.load(path, allow_pickle=False) as file:
            a = {key: file[key] for key in ARRAYS}
    except (ValueError, KeyError, OSError) as error:
        raise InputError(f"{path} is not a furniture pack", str(error), hint) from error
    for key in ("uv", "box", "size", "elevation"):
        if not np.isfinite(a[key]).all():
            raise InputError(f"{path} is not a furniture pack", f"{key} holds numbers that are not finite", hint)
    shapes = []
    for k in range(len(a["name"])):
        v, f = slice(*a["vertex_start"][k : k + 2]), slice(*a["face_start"][k : k + 2])
        low, high = a["box"][k]
        vertices = low + a["vertex"][v].astype(np.float32) * ((high - low) / 65535)
        face = a["face"][f].astype(np.int64)
        normals = a["normal"][f].astype(np.float32)
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
        size = (float(a["size"][k, 0]), float(a["size"][k, 1]), float(a["size"][k, 2]))
        uv, material = a["uv"][v].astype(np.float32)[face], a["material"][f].astype(np.int64)
        shapes.append(
            Shape(
                str(a["name"][k]),
                str(a["role"][k]),
                size,
                float(a["elevation"][k]),
                vertices,
                face,
                normals,
                uv,
                material,
            )
        )
    pictures = [
        np.asarray(Image.open(io.BytesIO(a["jpeg"][low:high].tobytes())).convert("RGB"))
        for low, high in zip(a["jpeg_start"][:-1], a["jpeg_start"][1:], strict=True)
    ]
    stacked = np.stack(pictures) if pictures else np.zeros((0, 8, 8, 3), np.uint8)
    return Pack(
        shapes,
        a["colour"].astype(np.float32) / 255,
        a["gloss"].astype(np.float32) / 255,
        a["picture"].astype(np.int64),
        stacked,
    )


def _starts(parts: list[Part]) -> list[int]:
    return [0, *np.cumsum([len(part.vertices) for part in parts])[:-1].tolist()]


def _uv(part: Part) -> NDArray[np.float64]:
    if part.uv is None:
        return np.zeros((len(part.vertices), 2))
    uv = np.nan_to_num(part.uv, nan=0.0, posinf=0.0, neginf=0.0)  # a few published models have such coordinates
    return np.clip(uv - np.floor(uv.min(0)), 0, 2000.0) if len(uv) else uv


def _jpeg(picture: Image.Image, side: int) -> bytes:
    file = io.BytesIO()
    picture.resize((side, side), Image.Resampling.BOX).save(file, "JPEG", quality=80)
    return file.getvalue()
