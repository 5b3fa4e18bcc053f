"""Random materials: paint, tiles of a kind, and new colours for models."""

import numpy as np

from stages.worlds.furnished.assets import Assets
from stages.worlds.furnished.mesh import PICTURED, PLAIN, TILED, Material, Mesh
from stages.worlds.furnished.pack import Shape
from stages.worlds.furnished.vectors import Floats


class Palette:
    """The mesh of a world, with the assets and the random generator that fill it."""

    def __init__(self, assets: Assets, rng: np.random.Generator) -> None:
        self.assets, self.rng, self.mesh = assets, rng, Mesh()

    def uniform(self, low: float, high: float) -> float:
        """A random number between two."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True with a probability."""
        return bool(self.rng.random() < probability)

    def paint(self, low: float = 0.35, high: float = 0.9, colourful: float = 0.3) -> Floats:
        """A random linear colour [3], mostly near grey."""
        base = self.uniform(low, high)
        spread = 0.28 if self.chance(colourful) else 0.05
        return np.clip(base * (1 + self.rng.normal(0, spread, 3)), 0.02, 0.95).astype(np.float32)

    def plain(self, low: float = 0.35, high: float = 0.9, colourful: float = 0.3, gloss: float = 0.0) -> int:
        """A material of one colour."""
        return self.mesh.material(Material(self.paint(low, high, colourful), PLAIN, 0, gloss))

    def tiled(self, kind: str, gloss: float = 0.0, bright: tuple[float, float] = (0.25, 0.7)) -> int:
        """A material with a random tile of a kind, slightly tinted. bright: range of its mean brightness."""
        k = int(self.rng.choice(self.assets.kinds[kind]))
        mean = float(np.mean(self.assets.mean[k] ** 2.2))
        factor = min(self.uniform(*bright) ** 1.6 / max(mean, 0.02), 3.0)
        tint = np.clip(factor * (1 + self.rng.normal(0, 0.06, 3)), 0.05, 3.0)
        return self.mesh.material(Material(tint.astype(np.float32), TILED, k, gloss))

    def surface(self, kind: str, plain: float, gloss: float = 0.0) -> int:
        """A plain material with probability `plain`, otherwise a tile of a kind."""
        return self.plain(gloss=gloss) if self.chance(plain) else self.tiled(kind, gloss)

    def model(
        self, shape: Shape, position: tuple[float, float, float], angle: float, scale: float = 1.0, change: float = 0.4
    ) -> None:
        """Place a model. With probability `change` it gets some new materials."""
        self.mesh.place(shape, position, angle, scale, self.materials(shape, change))

    def materials(self, shape: Shape, change: float) -> dict[int, tuple[int, float | None]]:
        """Materials for a model, see `Mesh.place`."""
        pack = self.assets.pack
        tint = np.clip((1 + self.rng.normal(0, 0.06, 3)) * self.uniform(0.75, 1.2), 0, 1.4)
        changes, shiny = self.chance(change), self.chance(0.25)
        out: dict[int, tuple[int, float | None]] = {}
        for k in np.unique(shape.material).tolist():
            gloss = float(pack.gloss[k]) * self.uniform(0, 0.8) + (self.uniform(0.1, 0.5) if shiny else 0.0)
            colour = np.clip(pack.colour[k] ** 2.2 * tint, 0.01, 1.0)
            picture = int(pack.picture[k])
            if changes and self.chance(0.6) and picture < 0:
                if self.chance(0.55):
                    kind = (
                        "cloth"
                        if shape.role in ("sofa", "armchair", "bed", "curtain", "seat") and self.chance(0.7)
                        else "wood"
                    )
                    out[k] = (self.tiled(kind if self.chance(0.85) else "any", min(gloss, 0.9)), self.uniform(0.3, 1.2))
                    continue
                colour = self.paint(0.03, 0.85, 0.5)
            if picture >= 0:
                colour = np.full(3, max(0.7, float(colour.max()))) * tint
                out[k] = (
                    self.mesh.material(Material(colour.astype(np.float32), PICTURED, picture, min(gloss, 0.9))),
                    None,
                )
            else:
                out[k] = (self.mesh.material(Material(colour.astype(np.float32), PLAIN, 0, min(gloss, 0.9))), None)
        return out
