"""What worlds are made of: the models of a pack by role, and pictures of surfaces by kind."""

import re

import numpy as np
from numpy.typing import NDArray

from stages.errors import InputError
from stages.worlds.furnished.atlas import Atlas, atlas_of
from stages.worlds.furnished.pack import Pack, Shape
from stages.worlds.textures import TILE, Textures

# Patterns that the name of a picture must match, and must not match, to be used on each kind of surface.
KINDS = {
    "wall": (
        r"wall|brick|marble|plain|roughcast|plaster|panel|parchment|stucco",
        r"door|window|sign|light|screen|comp|floor|vent",
    ),
    "floor": (r"floor|carpet|wood|parquet|tile|marble|oak|cherry", r"door|window|sign|light|screen|comp|wall"),
    "ground": (
        r"grass|street|dirt|rock|desert|sand|sidewalk|paving|pebble|concrete|terrain|forest|gravel|leaf|snow",
        r"door|window|sign",
    ),
    "grass": (r"grass|forest|moss|leaf", r"door|window"),
    "road": (r"street|asphalt|concrete|pavement|paving|sidewalk|road", r"door|window|sign|wall"),
    "facade": (r"tex_buildings|brick|stone|wall|roughcast|concrete|block", r"sign|light|screen|comp|floor|vent"),
    "cloth": (r"textil|carpet|denim|stripe|check|fabric|cloth|sheet|curtain|tatami|leather", r"door|window"),
    "wood": (r"wood|oak|cherry|mahag|parquet|plank|crate", r"door|window"),
    "picture": (r"tex_pics|image|nature|fruit|advert|liquid|art|coffee|cat|chelsea|astronaut|rocket", r"part|start"),
}


class Assets:
    """The models of a pack and the tiles, which are pictures of surfaces.

    by_role: role -> models.  kinds: kind of surface -> numbers of the tiles that show it, or of all tiles if fewer than
    three do.  tiles: atlas of the tiles.  pictures: atlas of the models' pictures.  mean: [N, 3], mean colour per tile.
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
        for kind, (include, exclude) in KINDS.items():
            tiles = [k for k, name in enumerate(names) if re.search(include, name) and not re.search(exclude, name)]
            self.kinds[kind] = np.array(tiles, np.int64) if len(tiles) >= 3 else self.kinds["any"]

    def pick(self, rng: np.random.Generator, *roles: str) -> Shape | None:
        """A random model of some roles, each with the same chance; None if the pack has none."""
        choice = [shape for role in roles for shape in self.by_role.get(role, [])]
        return choice[int(rng.integers(len(choice)))] if choice else None


def require_embree() -> None:
    """Raise InputError, which says what to install, when Embree is missing."""
    try:
        import embreex  # noqa: F401
    except ImportError as error:
        raise InputError("furnished worlds need Embree", str(error), "pip install 'videoscene-cli[worlds]'") from error
