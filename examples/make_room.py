"""Render the demo pair, room_0.jpg and room_1.jpg, and its cameras, transforms.json: `make example`.

The room is a furnished world whose furniture is placed by hand. All its models are in the public domain (NOTICE), and
its textures are procedural.
"""

import sys
from math import pi
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor

from stages.files.transforms import write_transforms
from stages.scene import Cameras
from stages.worlds.furnished import Assets, World, load_pack
from stages.worlds.furnished.lighting import Light
from stages.worlds.furnished.mesh import PICTURED, PLAIN, TILED, Material, turned
from stages.worlds.furnished.pack import Shape
from stages.worlds.furnished.pairs import intrinsics, look
from stages.worlds.furnished.palette import Palette
from stages.worlds.furnished.plan import Plan
from stages.worlds.furnished.raycast import Caster
from stages.worlds.furnished.render import photograph
from stages.worlds.textures import TILE, Textures

SEED, SIZE, FIELD_OF_VIEW = 3, (720, 1080), 1.17
RIGHT, FRONT, BACK, HEIGHT, WALL = 5.0, -1.2, 5.0, 2.6, 0.2  # ends of the room, metres; the left one is 0
WINDOW = (1.0, 2.5, 0.8, 2.2)  # from, to (along the left wall, from the back), low, high
SUN = np.array([-30.0, 7.0, 20.0])
EXPOSURE = np.array([1.3, 1.2, 1.06])  # of red, green and blue: daylight, a little warm
EYES = [(3.65, -0.25, 1.40), (4.20, 0.05, 1.45)]
TARGETS = [(1.85, 4.0, 0.85), (1.95, 4.1, 0.85)]


def main(pack: Path) -> None:
    """Write both photographs and their cameras beside this file."""
    tiles, folder = textures(), Path(__file__).parent
    assets = Assets(load_pack(pack), tiles)
    world = furnished_room(assets, tiles.names)
    poses = [look(np.array(eye), np.subtract(target, eye), 0.0) for eye, target in zip(EYES, TARGETS, strict=True)]
    K = intrinsics(FIELD_OF_VIEW, SIZE)
    fine = K * np.array([[2.0], [2.0], [1.0]])  # twice as fine, then averaged: smooth edges as a lens makes them
    for k, picture in enumerate(take(world, assets, poses, fine, (2 * SIZE[0], 2 * SIZE[1]))):
        Image.fromarray(picture).save(folder / f"room_{k}.jpg", quality=92, subsampling=0)
    cameras = Cameras(torch.from_numpy(np.stack(poses)), torch.from_numpy(K).expand(2, 3, 3), SIZE)
    write_transforms(folder / "transforms.json", cameras, ["room_0.jpg", "room_1.jpg"])


def take(world: World, assets: Assets, poses: list[np.ndarray], K: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Photographs [N, h/2, w/2, 3], uint8, of the world from each pose, drawn in `size` (h, w)."""
    linear = np.stack([photograph(world, assets, pose, K, size)[0] for pose in poses])
    halved = linear.reshape(len(poses), size[0] // 2, 2, size[1] // 2, 2, 3).mean((2, 4))
    bright = halved * EXPOSURE
    film = np.clip(1.25 * bright * (1 + bright / 6) / (1 + bright), 0, 1) ** (1 / 2.2)  # compresses highlights
    return np.round((0.7 * film + 0.3 * film**2 * (3 - 2 * film)) * 255).astype(np.uint8)  # with a little more contrast


# Textures ------------------------------------------------------------------------------------------------------------


def noise(g: Generator, rows: int, columns: int) -> Tensor:
    """Smooth noise, [256, 256], of about this number of spots down and across."""
    return F.interpolate(torch.rand(1, 1, rows, columns, generator=g), (TILE, TILE), mode="bicubic")[0, 0].clamp(0, 1)


def blend(low: tuple[float, ...], high: tuple[float, ...], share: Tensor) -> Tensor:
    """A tile [3, 256, 256] between two colours."""
    a, b = (torch.tensor(colour)[:, None, None] for colour in (low, high))
    return (a + (b - a) * share).clamp(0, 1)


def textures() -> Textures:
    """The tiles of the room: wood, cloth, paintings, plaster, the rug and the garden."""
    g, tiles = Generator().manual_seed(SEED), dict[str, Tensor]()
    y, x = torch.meshgrid(torch.arange(TILE) / TILE, torch.arange(TILE) / TILE, indexing="ij")
    for k in range(3):
        grain = 0.55 * noise(g, 90, 3) + 0.3 * noise(g, 24, 2) + 0.15 * noise(g, 200, 12)
        tiles[f"wood {k}"] = blend((0.45, 0.31, 0.19), (0.86, 0.68, 0.48), grain)
    for k in range(3):
        weave = 0.5 + 0.2 * (x * 64 * 2 * pi).sin() * (y * 64 * 2 * pi).sin() + 0.3 * (noise(g, 40, 40) - 0.5)
        colours = [((0.72, 0.68, 0.6), (0.9, 0.87, 0.8)), ((0.2, 0.34, 0.42), (0.34, 0.5, 0.58))]
        tiles[f"cloth {k}"] = blend(*[*colours, ((0.68, 0.42, 0.16), (0.9, 0.62, 0.28))][k], weave)
    for k in range(5):
        tiles[f"picture {k}"] = painting(g)
    for k in range(3):
        tiles[f"plaster {k}"] = blend(
            (0.93, 0.93, 0.93), (1.0, 1.0, 1.0), 0.5 * noise(g, 6, 6) + 0.5 * noise(g, 90, 90)
        )
    band = (x * 4 + (y * 6 - (y * 6).round()).abs()) % 4  # zigzags
    stripes = torch.stack([(band - k).abs() < 0.5 for k in range(4)]).float()
    stripes[0] = 1 - stripes[1:].sum(0)
    dyes = torch.tensor([[0.8, 0.74, 0.63], [0.56, 0.25, 0.2], [0.32, 0.37, 0.4], [0.72, 0.55, 0.33]])
    tiles["rug"] = torch.einsum("khw,kc->chw", stripes, dyes) * (0.8 + 0.3 * noise(g, 128, 128))
    leaves = 0.5 * noise(g, 12, 12) + 0.3 * noise(g, 40, 40) + 0.2 * noise(g, 100, 100)
    sky = ((0.45 - y + 0.5 * (noise(g, 7, 7) - 0.5)) * 6).clamp(0, 1)
    tiles["garden"] = torch.lerp(blend((0.36, 0.46, 0.28), (0.8, 0.86, 0.62), leaves), torch.ones(3, TILE, TILE), sky)
    return Textures(torch.stack(list(tiles.values())), list(tiles))


def painting(g: Generator) -> Tensor:
    """An abstract landscape: a few hills before a sky, [3, 256, 256]."""
    y = torch.linspace(0, 1, TILE)[:, None].expand(TILE, TILE)
    sky, ground = torch.rand(2, 3, generator=g).tolist()
    canvas = blend((0.9, 0.8, 0.7), tuple(0.4 + 0.5 * v for v in sky), 1 - y)
    for k in range(4):
        line = 0.25 + 0.18 * k + 0.3 * (noise(g, 2, 3 + 2 * k)[:1] - 0.5)
        hill = blend(tuple(0.1 + 0.5 * v for v in ground), tuple(0.3 + 0.6 * v for v in sky), noise(g, 30, 8))
        canvas = torch.where(y > line, hill * (1.1 - 0.2 * k), canvas)
    return (canvas * (0.85 + 0.3 * noise(g, 120, 60))).clamp(0, 1)


# Furniture -----------------------------------------------------------------------------------------------------------


class Room:
    """A room that is being furnished."""

    def __init__(self, assets: Assets, tiles: list[str]) -> None:
        self.palette = Palette(assets, np.random.default_rng(SEED))
        self.mesh, self.assets, self.tiles = self.palette.mesh, assets, tiles
        self.plan = Plan(0.0, FRONT, RIGHT, BACK, HEIGHT)

    def tile(self, name: str, tint: tuple[float, ...] = (1, 1, 1), **more: float) -> int:
        """A material with the texture of this name."""
        k = self.tiles.index(name)
        return self.mesh.material(Material(np.array(tint, np.float32), TILED, k, **more))

    def paint(self, red: float, green: float, blue: float, **more: float) -> int:
        """A material of one linear colour."""
        return self.mesh.material(Material(np.array([red, green, blue], np.float32), PLAIN, 0, **more))

    def find(self, name: str, width: float | None = None) -> Shape:
        """The model of this name, or that of the models of this name which is nearest to a width."""
        shapes = [shape for shape in self.assets.pack.shapes if shape.name == name]
        return min(shapes, key=lambda shape: abs(shape.size[0] - width) if width else 0.0)

    def put(
        self,
        shape: Shape,
        x: float,
        y: float,
        z: float = 0.0,
        degrees: float = 0.0,
        scale: float = 1.0,
        glow: float = 0,
    ) -> None:
        """Place a model in its own colours, facing the front at 0 degrees. glow: of its whitest parts."""
        pack, own = self.assets.pack, dict[int, tuple[int, float | None]]()
        for k in np.unique(shape.material).tolist():
            picture, light = int(pack.picture[k]), glow if pack.colour[k].min() > 0.75 else 0.0
            colour = pack.colour[k].clip(0.03, 1) ** 2.2 if picture < 0 else np.full(3, 0.9)
            if light:
                colour = colour * (1.0, 0.8, 0.52)
            source = PLAIN if picture < 0 else PICTURED
            gloss = 0.5 * float(pack.gloss[k])
            own[k] = (
                self.mesh.material(Material(colour.astype(np.float32), source, max(picture, 0), gloss, light)),
                None,
            )
        self.mesh.place(shape, (x, y, z), degrees * pi / 180, scale, own)

    def picture(self, x: float, z: float, width: float, height: float, number: int) -> None:
        """Hang a picture with a frame and a white mat on the back wall, centred at (x, z)."""
        frame, mat = self.tile("wood 1", (0.35, 0.3, 0.25)), self.paint(0.8, 0.78, 0.74)
        self.mesh.box((x, BACK - 0.012, z), (width / 2, 0.012, height / 2), frame, 0.4)
        self.mesh.box((x, BACK - 0.024, z), (width / 2 - 0.025, 0.003, height / 2 - 0.025), mat, 1.0)
        w, h = width - 0.14, height - 0.14
        self.mesh.quad((x - w / 2, BACK - 0.029, z - h / 2), (w, 0, 0), (0, 0, h), self.tile(f"picture {number}"))


def furnished_room(assets: Assets, tiles: list[str]) -> World:
    """The living room, ready to be photographed."""
    room = Room(assets, tiles)
    shell(room)
    window(room)
    seats(room)
    bookcase(room)
    surfaces = room.mesh.finish()
    (first, last, low, high), middle = WINDOW, BACK - (WINDOW[0] + WINDOW[1]) / 2
    half = ((0.0, (last - first) / 2, 0.0), (0.0, 0.0, (high - low) / 2))
    lights = [  # the sun; the sky in the window; the sunny floor; the rest of the house; the lamp
        Light(SUN, ((0.0, 0.15, 0.0), (0.0, 0.0, 0.15)), np.array([1.0, 0.86, 0.66]) * 4.2 * (SUN @ SUN)),
        Light((-0.02, middle, (low + high) / 2), half, np.array([0.86, 0.95, 1.1]) * 5.0, (1.0, 0.0, 0.0)),
        Light((1.6, 2.7, 0.02), ((0.7, 0, 0), (0, 0.7, 0)), np.array([1.0, 0.8, 0.58]) * 1.2, (0.0, 0.0, 1.0)),
        Light((3.2, 0.4, 2.5), ((1.2, 0, 0), (0, 0.3, 0)), np.array([1.0, 0.94, 0.86]) * 2.5),
        Light((0.93, 4.68, 0.84), ((0.04, 0, 0), (0, 0.04, 0)), np.array([1.0, 0.66, 0.34]) * 0.35),
    ]
    ambient, sky = np.array([0.36, 0.34, 0.31], np.float32), np.array([[1.6, 2.0, 2.6], [2.6, 2.8, 3.0]], np.float32)
    nowhere = np.zeros((2, 3), np.float32)
    return World(surfaces, Caster(surfaces), lights, ambient, 0.15, 1.2, sky, nowhere, nowhere)


def shell(room: Room) -> None:
    """Walls, ceiling, a floor of planks, and the rug."""
    left, back = room.tile("plaster 0", (0.78, 0.74, 0.66)), room.tile("plaster 1", (0.36, 0.44, 0.40))
    room.plan.walls[2].openings.append(WINDOW)
    dark, white = room.paint(0.06, 0.04, 0.03), room.paint(0.82, 0.8, 0.77)
    room.plan.build(room.palette, [left, back, left, left], dark, white, (1.2, 2.0), WALL)
    rng, wide = room.palette.rng, 0.145
    with room.mesh.one_thing():
        for row in range(round((BACK - FRONT) / wide)):
            x = -float(rng.uniform(0, 1.2))
            while x < RIGHT:
                long, shade = float(rng.uniform(0.7, 1.5)), float(rng.uniform(0.62, 0.9))
                wood = room.tile(f"wood {int(rng.integers(3))}", (shade, shade * 0.93, shade * 0.86), gloss=0.35)
                corner = (x + 0.0015, FRONT + row * wide + 0.0015, 0.001)
                room.mesh.quad(corner, (long - 0.003, 0, 0), (0, wide - 0.003, 0), wood, 0.42, float(rng.uniform(0, 2)))
                x += long
    room.mesh.box((1.95, 3.1, 0.004), (1.36, 0.92, 0.004), room.paint(0.3, 0.07, 0.05), 1.0)
    room.mesh.box((1.95, 3.1, 0.006), (1.3, 0.86, 0.005), room.tile("rug"), 0.6)


def window(room: Room) -> None:
    """The frame of the window, its sill, curtains, a radiator under it, and the garden behind it."""
    first, last, low, high = WINDOW
    wall, frame = room.plan.walls[2], room.paint(0.85, 0.84, 0.82, gloss=0.2)
    y, across, up = BACK - (first + last) / 2, (last - first) / 2, (high - low) / 2
    for k in range(3):
        room.mesh.box((-0.1, y - across + k * across, low + up), (0.03, 0.028, up), frame, 1.0)
    for z in (low, low + 1.3 * up, high):
        room.mesh.box((-0.1, y, z), (0.028, across, 0.028), frame, 1.0)
    room.mesh.box((0.02, y, low - 0.015), (0.14, across + 0.06, 0.018), frame, 1.0)
    linen = room.tile("cloth 0", (0.95, 0.88, 0.76))
    for start in (first - 0.22, last - 0.12):
        with room.mesh.one_thing():
            for k in range(8):
                near, far = (0.1, 0.05) if k % 2 else (0.05, 0.1)
                (px, py), (qx, qy) = wall.point(start + 0.0425 * k, near), wall.point(start + 0.0425 * (k + 1), far)
                room.mesh.quad((px, py, 0.04), (qx - px, qy - py, 0), (0, 0, high + 0.07), linen, 0.5)
    rod = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)
    room.mesh.cylinder((0.07, y, high + 0.12), (0.012, 0.012, across + 0.25), room.paint(0.1, 0.08, 0.06), 1.0, rod)
    room.put(room.find("Radiator", 1.4), 0.14, y, 0.06, 90)
    room.put(room.find("Plant", 0.61), 0.04, y - 0.42, low, 90, 0.7)
    # Near, so that the view from the window hardly moves, and low, so that the sun shines over it.
    room.mesh.quad((-2.5, 8.5, 0.0), (0, -6.0, 0), (0, 0, 2.85), room.tile("garden", glow=2.4))


def seats(room: Room) -> None:
    """Sofa, armchair, tables, what lies on them, pictures above, and plants and toys about the floor."""
    room.put(room.find("Sofa"), 2.05, BACK - 0.42, scale=1.06)
    for x, number in ((1.5, 1), (2.62, 2)):
        lean = np.array([[1, 0, 0], [0, 0.94, 0.34], [0, -0.34, 0.94]], np.float32)
        room.mesh.ball((x, BACK - 0.5, 0.62), (0.2, 0.08, 0.2), room.tile(f"cloth {number}"), 0.3, lean)
    room.put(room.find("Teddy bear"), 2.2, BACK - 0.55, 0.44, -8)
    room.put(room.find("Winchester armchair"), 0.9, 2.35, degrees=68)
    oak = room.tile("wood 2", (0.62, 0.5, 0.4), gloss=0.4)
    room.mesh.box((1.95, 3.15, 0.4), (0.55, 0.3, 0.02), oak, 0.5)
    room.mesh.box((1.95, 3.15, 0.16), (0.5, 0.25, 0.01), oak, 0.5)
    for x in (-0.5, 0.5):
        for y in (-0.25, 0.25):
            room.mesh.box((1.95 + x, 3.15 + y, 0.2), (0.025, 0.025, 0.19), oak, 0.5)
    room.put(room.find("Little plant"), 1.62, 3.2, 0.42, 30)
    room.put(room.find("Coffee cup"), 2.0, 3.02, 0.42, 20)
    room.put(room.find("Coffee cup"), 2.3, 3.28, 0.42, 200)
    for k, (tint, turn) in enumerate([((0.4, 0.08, 0.06), 0.2), ((0.1, 0.2, 0.3), 0.5), ((0.7, 0.55, 0.2), 0.1)]):
        room.mesh.box(
            (2.0, 3.25, 0.435 + 0.028 * k), (0.12, 0.085, 0.013), room.paint(*tint, gloss=0.2), 1.0, turned(turn)
        )
    room.mesh.box((0.93, 4.68, 0.3), (0.23, 0.21, 0.3), oak, 0.7)  # beside the sofa
    room.put(room.find("Desk lamp"), 0.93, 4.68, 0.6, 0, 1.1, glow=2.2)
    room.put(room.find("Plant", 0.82), 0.42, 4.5, degrees=40, scale=1.15)
    room.put(room.find("Rocking horse"), 3.42, 3.8, degrees=70)
    room.put(room.find("Electric guitar"), 3.16, BACK - 0.35, degrees=5)
    room.picture(1.3, 1.62, 0.55, 0.7, 0)
    room.picture(2.05, 1.66, 0.75, 0.55, 1)
    room.picture(2.72, 1.6, 0.4, 0.5, 2)
    room.put(room.find("Cuckoo clock"), 3.18, BACK - 0.1, 1.35)


def bookcase(room: Room) -> None:
    """A tall case of six boards with books, plants and a speaker."""
    x, y, half, deep, gap = 4.0, BACK - 0.16, 0.55, 0.15, 0.36
    oak = room.tile("wood 1", (0.6, 0.48, 0.38), gloss=0.2)
    for k in range(7):
        room.mesh.box((x, y, 0.06 + k * gap), (half, deep, 0.012), oak, 0.5)
    for side in (-half, half):
        room.mesh.box((x + side, y, 0.03 + 3 * gap), (0.014, deep, 3 * gap + 0.045), oak, 0.5)
    room.mesh.box((x, y + deep, 0.03 + 3 * gap), (half, 0.005, 3 * gap + 0.04), oak, 0.5)
    ends = [(-0.5, 0.5), (-0.5, 0.15), (-0.22, 0.5), (-0.5, 0.42), (-0.5, 0.18), (-0.3, 0.5)]
    for k, (first, last) in enumerate(ends):
        books(room, x + first, x + last, y, 0.073 + k * gap)
    room.put(room.find("Cactus"), x + 0.36, y - 0.02, 0.073 + 4 * gap)
    room.put(room.find("Orchids"), x + 0.33, y - 0.02, 0.073 + gap, scale=0.55)
    room.put(room.find("Speaker", 0.22), x - 0.38, y, 0.073 + 2 * gap, scale=0.85)


def books(room: Room, first: float, last: float, y: float, z: float) -> None:
    """A row of books on a board at height z, from x = first to last, with labels on their spines."""
    rng = room.palette.rng
    covers = [(0.3, 0.05, 0.04), (0.05, 0.12, 0.2), (0.08, 0.16, 0.09), (0.6, 0.5, 0.34), (0.5, 0.26, 0.06)]
    covers += [(0.16, 0.08, 0.05), (0.7, 0.66, 0.58), (0.1, 0.1, 0.11), (0.12, 0.26, 0.28)]
    while first < last - 0.05:
        thick, high = float(rng.uniform(0.018, 0.05)), float(rng.uniform(0.19, 0.29))
        cover, label = (covers[int(k)] for k in rng.choice(len(covers), 2, replace=False))
        centre, back = (first + thick / 2, y - 0.02, z + high / 2), y - 0.12
        room.mesh.box(centre, (thick / 2 - 0.001, 0.1, high / 2), room.paint(*cover, gloss=0.15), 1.0)
        at = (centre[0], back, z + high * float(rng.uniform(0.55, 0.8)))
        room.mesh.box(at, (thick / 2 - 0.003, 0.001, high * float(rng.uniform(0.05, 0.14))), room.paint(*label), 1.0)
        first += thick + (float(rng.uniform(0.03, 0.1)) if rng.random() < 0.08 else 0.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
