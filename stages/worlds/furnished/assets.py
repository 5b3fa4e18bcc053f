"""Everything that worlds are made of: the models of a pack by their roles, and surfaces by what they show."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from stages.errors import InputError
from stages.worlds.furnished.atlas import Atlas, atlas_of
from stages.worlds.furnished.pack import Pack, Shape
from stages.worlds.textures import TILE, Textures

# What the name of a tile must hold, and must not hold, to cover such a surface.
KINDS = {
    "wall": (r"wall|brick|marble|plain|roughcast|plaster|panel|parchment|stucco", r"door|window|sign|light|screen|comp|floor|vent"),
    "floor": (r"floor|carpet|wood|parquet|tile|marble|oak|cherry", r"door|window|sign|light|screen|comp|wall"),
    "ground": (r"grass|street|dirt|rock|desert|sand|sidewalk|paving|pebble|concrete|terrain|forest|gravel|leaf|snow", r"door|window|sign"),
    "grass": (r"grass|forest|moss|leaf", r"door|window"),
    "road": (r"street|asphalt|concrete|pavement|paving|sidewalk|road", r"door|window|sign|wall"),
    "facade": (r"tex_buildings|brick|stone|wall|roughcast|concrete|block", r"sign|light|screen|comp|floor|vent"),
    "cloth": (r"textil|carpet|denim|stripe|check|fabric|cloth|sheet|curtain|tatami|leather", r"door|window"),
    "wood": (r"wood|oak|cherry|mahag|parquet|plank|crate", r"door|window"),
    "picture": (r"tex_pics|image|nature|fruit|advert|liquid|art|coffee|cat|chelsea|astronaut|rocket", r"part|start"),
}


class Assets:
    """A pack and an atlas of tiles, ready to draw from.

    by_role: models of a role.  kinds: numbers of the tiles that show a kind of surface; any tile where none is known to.
    tiles, pictures: the atlases of the surfaces and of the models.
    """

    def __init__(self, pack: Pack, textures: Textures) -> None:
        self.pack = pack
        self.by_role: dict[str, list[Shape]] = {}
        for shape in pack.shapes:
            self.by_role.setdefault(shape.role, []).append(shape)
        levels = [level.numpy() for level in textures.levels]
        self.tiles = Atlas(levels, TILE, mirror=True)
        self.pictures: Atlas | None = atlas_of(pack.pictures, mirror=False) if len(pack.pictures) else None
        self.mean = np.array(levels[-1].reshape(textures.count, -1, 3).mean(1) / 255, np.float32)
        names = [name.lower() for name in textures.names]
        self.kinds: dict[str, NDArray[np.int64]] = {"any": np.arange(textures.count)}
        for kind, (wanted, refused) in KINDS.items():
            found = [k for k, name in enumerate(names) if re.search(wanted, name) and not re.search(refused, name)]
            self.kinds[kind] = np.array(found, np.int64) if len(found) >= 3 else self.kinds["any"]

    def pick(self, rng: np.random.Generator, *roles: str) -> Shape | None:
        """A model of one of the roles, all models alike; None if the pack has none."""
        choice = [shape for role in roles for shape in self.by_role.get(role, [])]
        return choice[int(rng.integers(len(choice)))] if choice else None


def require_embree() -> None:
    """Raises InputError, with what to install, when Embree is missing."""
    try:
        import embreex  # noqa: F401
    except ImportError as error:
        raise InputError("furnished worlds need Embree", str(error), "pip install 'videoscene-cli[worlds]'") from error
