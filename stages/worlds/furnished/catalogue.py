"""Reads models from furniture catalogues of Sweet Home 3D (`.sh3f` files): names, sizes, triangles, colours."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PROPERTIES = "PluginFurnitureCatalog.properties"
TRANSPARENT = 0.45  # parts of lower opacity are glass and left out, because depth is that of what is behind


@dataclass(frozen=True)
class Part:
    """The triangles of one material.

    vertices: [V, 3].  faces: [T, 3].  uv: [V, 2], or None without a picture.  colour: [3], sRGB in [0, 1].
    picture: RGB, or None.  gloss: 0 (matt) to 1 (mirror-like), from the specular colour.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    uv: NDArray[np.float64] | None
    colour: NDArray[np.float64]
    picture: Image.Image | None
    gloss: float


@dataclass(frozen=True)
class Model:
    """A model in metres, with x to the right, y to the back and z up. It stands on z = 0, centred over the origin.

    size: width, depth, height.  elevation: height above the floor at which it hangs.
    """

    name: str
    category: str
    catalogue: str
    size: tuple[float, float, float]
    elevation: float
    parts: list[Part]


def entries(text: str) -> list[dict[str, str]]:
    """The entries of a catalogue's properties file, by number."""
    by_number: dict[int, dict[str, str]] = {}
    for key, number, value in re.findall(r"^(\w+)#(\d+)=(.*?)\r?$", text, re.MULTILINE):
        by_number.setdefault(int(number), {})[key] = value.strip()
    return [by_number[number] for number in sorted(by_number)]


def read_catalogue(archive: zipfile.ZipFile) -> list[dict[str, str]]:
    """Every entry of a catalogue that has a model in the OBJ format."""
    text = archive.read(PROPERTIES).decode("latin-1")
    return [entry for entry in entries(text) if entry.get("model", "").lower().endswith(".obj")]


def size_of(entry: dict[str, str]) -> tuple[float, float, float]:
    """Width, depth and height of an entry, metres."""
    return float(entry["width"]) / 100, float(entry["depth"]) / 100, float(entry["height"]) / 100


def read_model(entry: dict[str, str], archive: zipfile.ZipFile, catalogue: str) -> Model:
    """The model of an entry at the catalogue's size, without glass. Raises ValueError if no triangle is left."""
    parts = _parts(archive, entry["model"].lstrip("/"))
    if not parts:
        raise ValueError(f"{entry['name']} has no opaque triangle")
    turn = np.eye(3)
    if "modelRotation" in entry:
        turn = np.array(entry["modelRotation"].split(), float).reshape(3, 3)
    # The catalogues' models have y up and their front towards +z.
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ turn
    used = np.concatenate([(part.vertices @ turn.T)[np.unique(part.faces)] for part in parts])
    low, high = used.min(0), used.max(0)
    size = size_of(entry)
    scale = np.array(size) / np.maximum(high - low, 1e-6)
    foot = np.array([*((low + high) / 2)[:2], low[2]])
    scaled = [
        Part((part.vertices @ turn.T - foot) * scale, part.faces, part.uv, part.colour, part.picture, part.gloss)
        for part in parts
    ]
    return Model(
        entry["name"], entry.get("category", ""), catalogue, size, float(entry.get("elevation", 0)) / 100, scaled
    )


def _parts(archive: zipfile.ZipFile, name: str) -> list[Part]:
    import trimesh

    files = {member.lower(): member for member in archive.namelist()}
    folder = PurePosixPath(name).parent

    class Neighbours(trimesh.resolvers.Resolver):
        """Finds the materials and pictures beside a model. Upper and lower case do not matter."""

        def __init__(self) -> None: ...

        def get(self, name: str) -> bytes:
            return archive.read(files[str(folder / name.strip().replace("\\", "/")).lower()])

        def keys(self) -> list[str]:
            return list(files)

        def namespaced(self, namespace: str) -> Neighbours:
            return self

        def write(self, name: str, data: bytes) -> None:
            raise NotImplementedError

    scene = trimesh.load(
        io.BytesIO(archive.read(name)),
        file_type="obj",
        resolver=Neighbours(),
        process=False,
        group_material=True,
        split_object=False,
    )
    meshes = list(scene.geometry.values()) if isinstance(scene, trimesh.Scene) else [scene]
    return [part for mesh in meshes if isinstance(mesh, trimesh.Trimesh) and (part := _part(mesh)) is not None]


def _part(mesh) -> Part | None:  # type: ignore[no-untyped-def]
    material = getattr(mesh.visual, "material", None)
    colour, picture, gloss = np.full(3, 0.7), None, 0.0
    if material is not None:
        properties = material.kwargs
        opacity = float(properties["d"][0]) if properties.get("d") else 1 - float((properties.get("tr") or [0])[0])
        if opacity < TRANSPARENT:
            return None
        colour = np.asarray(material.diffuse, float)[:3] / 255
        gloss = float(np.mean(np.asarray(material.specular, float)[:3]) / 255)
        picture = material.image.convert("RGB") if material.image is not None else None
    uv = getattr(mesh.visual, "uv", None)
    if uv is None or len(uv) != len(mesh.vertices):
        uv = picture = None
    return (
        Part(np.asarray(mesh.vertices, float), np.asarray(mesh.faces), uv, colour, picture, gloss)
        if len(mesh.faces)
        else None
    )
