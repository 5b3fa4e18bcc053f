"""Furnished worlds: packs, shapes, light, and pictures whose depth is exact."""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Generator

from stages.distill.clip_shards import read as read_clip
from stages.distill.clips_of_worlds import furnished_clip
from stages.distill.clips_of_worlds import write_shard as write_clips_of_worlds
from stages.distill.prior_worlds import PRIMITIVE
from stages.errors import InputError
from stages.geometry import project, unproject
from stages.prior.config import SMALL
from stages.prior.network import MVSplat
from stages.scene import Views
from stages.worlds import load_textures
from stages.worlds.furnished import Assets, draw_furnished_scene, load_pack
from stages.worlds.furnished.atlas import Atlas
from stages.worlds.furnished.lighting import Light, visibility
from stages.worlds.furnished.make_pack import make_pack
from stages.worlds.furnished.mesh import Material, Mesh, turned
from stages.worlds.furnished.pairs import between, free
from stages.worlds.furnished.raycast import SKY, Caster
from stages.worlds.furnished.roles import role_of
from stages.worlds.furnished.shards import write_furnished_shard
from stages.worlds.furnished.simplify import corner_normals
from stages.worlds.motion import between as between_in_torch
from stages.worlds.textures import TILE

pytest.importorskip("embreex")
pytest.importorskip("trimesh")
pytest.importorskip("fast_simplification")

BOX = "v 0 0 0\nv 2 0 0\nv 2 0 1\nv 0 0 1\nv 0 3 0\nv 2 3 0\nv 2 3 1\nv 0 3 1\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
SIDES = ["1 2 3 4", "5 8 7 6", "1 5 6 2", "2 6 7 3", "3 7 8 4", "4 8 5 1"]
ROLES = {
    "Chair": (45, 50, 90),
    "Table": (120, 80, 75),
    "Sofa": (190, 85, 80),
    "Bookcase": (90, 35, 180),
    "Cup": (9, 9, 12),
    "Door": (90, 15, 205),
}


def box_with_glass() -> str:
    """A box of 2 x 3 x 1 with a picture on it, and a pane of glass that reaches far out of it."""
    faces = "".join("f " + " ".join(f"{v}/{k + 1}" for k, v in enumerate(side.split())) + "\n" for side in SIDES)
    return "mtllib box.mtl\n" + BOX + "usemtl wood\n" + faces + "v 9 0 0\nv 9 9 0\nv 9 9 9\nusemtl glass\nf 9 10 11\n"


def ball(rings: int) -> str:
    """A finely divided ball."""
    points, faces = [], []
    for i in range(rings + 1):
        for j in range(2 * rings):
            a, b = np.pi * i / rings, np.pi * j / rings
            points.append(f"v {np.sin(a) * np.cos(b):.5f} {np.cos(a):.5f} {np.sin(a) * np.sin(b):.5f}\n")
            if i < rings:
                here, after = i * 2 * rings + j + 1, i * 2 * rings + (j + 1) % (2 * rings) + 1
                faces.append(f"f {here} {after} {after + 2 * rings} {here + 2 * rings}\n")
    return "mtllib box.mtl\nusemtl red\n" + "".join(points) + "".join(faces)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of a few boxes that play furniture, and a ball."""
    folder = tmp_path_factory.mktemp("furniture")
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 100, 50)).save(picture, "PNG")
    with zipfile.ZipFile(folder / "test.sh3f", "w") as archive:
        archive.writestr("m/box.obj", box_with_glass())
        archive.writestr("m/ball.obj", ball(40))
        archive.writestr(
            "m/box.mtl", "newmtl wood\nKd 0.5 0.5 0.5\nmap_Kd Wood.png\nnewmtl glass\nd 0.2\nnewmtl red\nKd 1 0 0\n"
        )
        archive.writestr("m/wood.png", picture.getvalue())
        entries = [
            *((name, "box", size) for name, size in ROLES.items()),
            ("Ball", "ball", (30, 30, 30)),
            ("Swimming pool", "box", (9, 9, 9)),
        ]
        lines = [
            f"name#{k}={name}\ncategory#{k}=Living room\nmodel#{k}=/m/{file}.obj\n"
            f"width#{k}={w}\ndepth#{k}={d}\nheight#{k}={h}\n"
            for k, (name, file, (w, d, h)) in enumerate(entries, 1)
        ]
        archive.writestr("PluginFurnitureCatalog.properties", "\n".join(lines))
    out = folder / "pack.npz"
    assert make_pack(folder, out, triangles=400, side=32, most=100, log=pytest.fail) == len(ROLES) + 1, (
        "no world needs a swimming pool"
    )
    return out


@pytest.fixture(scope="module")
def assets(pack: Path) -> Assets:
    return Assets(load_pack(pack), load_textures(None, Generator().manual_seed(0), procedural=12))


@pytest.fixture(scope="module")
def views(assets: Assets) -> Views:
    return draw_furnished_scene(assets, 5, (96, 144), [0.5])


def test_a_pack_holds_the_models_in_metres(pack: Path) -> None:
    shapes = {shape.name: shape for shape in load_pack(pack).shapes}
    assert shapes["Table"].role == "table"
    for name, (w, d, h) in ROLES.items():
        points = shapes[name].vertices[shapes[name].corners].reshape(-1, 3)
        expected = np.array([[-w / 200, -d / 200, 0], [w / 200, d / 200, h / 100]])
        assert np.abs(np.stack([points.min(0), points.max(0)]) - expected).max() < 1e-3, (
            "the glass is gone and does not count"
        )
    assert len(shapes["Table"].corners) == 12


def test_a_model_is_simplified_and_stays_round(pack: Path) -> None:
    shape = next(shape for shape in load_pack(pack).shapes if shape.name == "Ball")
    assert len(shape.corners) <= 500
    radius = np.linalg.norm(shape.vertices[shape.corners] - (0, 0, 0.15), axis=-1)
    assert np.abs(radius - 0.15).max() < 0.01
    outwards = (shape.vertices[shape.corners] - (0, 0, 0.15)) / radius[..., None]
    assert ((shape.normals * outwards).sum(-1)).mean() > 0.97, "the normals of the corners are those of the ball"


def test_a_pack_keeps_pictures_and_colours(pack: Path) -> None:
    loaded = load_pack(pack)
    shapes = {shape.name: shape for shape in loaded.shapes}
    wood = int(shapes["Chair"].material[0])
    assert np.abs(loaded.pictures[loaded.picture[wood]].mean((0, 1)) - (200, 100, 50)).max() < 6
    red = int(shapes["Ball"].material[0])
    assert loaded.picture[red] == -1
    assert loaded.colour[red].tolist() == [1, 0, 0]


def test_the_small_pack_holds_some_of_every_role(pack: Path, tmp_path: Path) -> None:
    assert make_pack(pack.parent, tmp_path / "small.npz", triangles=50, side=16, most=3, log=pytest.fail) == 3
    assert len({shape.role for shape in load_pack(tmp_path / "small.npz").shapes}) == 3


def test_a_pack_with_numbers_that_are_not_finite_is_refused(pack: Path, tmp_path: Path) -> None:
    with np.load(pack) as file:
        arrays = dict(file)
    arrays["uv"][0, 0] = np.inf
    np.savez(tmp_path / "infinite.npz", **arrays)
    with pytest.raises(InputError, match="uv holds numbers that are not finite"):
        load_pack(tmp_path / "infinite.npz")


def test_what_is_missing_is_said(pack: Path, assets: Assets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no furniture pack"):
        load_pack(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_text("not a pack")
    with pytest.raises(InputError, match="not a furniture pack"):
        load_pack(tmp_path / "bad.npz")
    with pytest.raises(InputError, match="no furniture in"):
        make_pack(tmp_path, tmp_path / "out.npz", 100, 16, 10, pytest.fail)
    monkeypatch.setitem(sys.modules, "embreex", None)
    with pytest.raises(InputError, match="Embree"):
        draw_furnished_scene(assets, 0, (32, 48), [])


@pytest.mark.parametrize(
    ("name", "category", "size", "role"),
    [
        ("Chair", "Living room", (0.5, 0.5, 0.9), "seat"),
        ("Bar stool", "Living room", (0.5, 0.6, 1.1), "seat"),
        ("Coffee table", "Living room", (1.2, 0.7, 0.45), "low table"),
        ("Lamp", "Lights", (0.3, 0.3, 0.5), "table lamp"),
        ("Indoor bike", "Miscellaneous", (0.7, 1.0, 1.3), "other"),
        ("Glass door cabinet", "Kitchen", (0.6, 0.4, 0.7), "cabinet"),
        ("Rounded switch", "Miscellaneous", (0.1, 0.1, 0.1), ""),
        ("Saw", "Miscellaneous", (0.4, 0.1, 0.1), "small"),
    ],
)
def test_roles_are_read_off_names(name: str, category: str, size: tuple[float, float, float], role: str) -> None:
    assert role_of(name, category, size) == role


def test_edges_stay_sharp_and_curves_become_smooth() -> None:
    cube = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    faces = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5]])
    normals = corner_normals(cube, faces)
    assert np.allclose(np.abs(normals), [1, 0, 0], atol=1e-6)
    fold = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0.2], [-1, 0, 0.2]], float)
    bent = corner_normals(fold, np.array([[0, 2, 1], [0, 1, 3]]))
    assert np.allclose(bent[0, 0], bent[1, 0], atol=1e-6), "both faces of a shallow fold share the normal on it"


def test_rays_hit_what_a_plain_search_hits() -> None:
    """Embree against the intersection of every ray with every triangle (Moeller and Trumbore 1997)."""
    mesh = Mesh()
    stone = mesh.material(Material((1, 1, 1)))
    mesh.box((0.5, 0.2, 3), (0.8, 0.5, 0.4), stone, 1.0, turned(0.4))
    mesh.ball((-1, 0.3, 4), (0.7, 0.7, 0.5), stone, 1.0)
    mesh.cylinder((0.2, -0.9, 5), (0.5, 0.5, 0.9), stone, 1.0)
    surfaces = mesh.finish()
    rng = np.random.default_rng(0)
    directions = np.concatenate([rng.uniform(-0.4, 0.4, (400, 2)), np.ones((400, 1))], 1)
    a, b, c = (surfaces.vertices[surfaces.corners[:, k]].astype(float) for k in range(3))
    normal = np.cross(b - a, c - a)
    distance = (normal * a).sum(1) / (directions @ normal.T)
    points = directions[:, None] * distance[..., None]
    inside = np.ones_like(distance, bool)
    for p, q in ((a, b), (b, c), (c, a)):
        inside &= (np.cross(q - p, points - p) * normal).sum(-1) >= 0
    expected = np.where(inside & (distance > 0), distance, SKY).min(1)
    hits = Caster(surfaces).cast(np.zeros(3), directions)
    close = np.abs(hits.distance - expected) < 1e-3
    assert close.mean() > 0.99, "but for rays along an edge"
    assert 0.2 < (hits.triangle >= 0).mean() < 0.9


def test_normals_point_out_of_shapes() -> None:
    mesh = Mesh()
    stone = mesh.material(Material((1, 1, 1)))
    for add in (mesh.box, mesh.ball, mesh.cylinder):
        add((1.0, 2.0, 3.0), (0.3, 0.4, 0.5), stone, 1.0, turned(0.7))
    surfaces = mesh.finish()
    triangles = surfaces.vertices[surfaces.corners]
    outwards = triangles - np.array([1, 2, 3], np.float32)
    assert ((outwards * surfaces.normals).sum(-1) > -1e-6).all()
    winding = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    assert ((winding * outwards.mean(1)).sum(-1) > 0).all()


def test_numpy_reads_tiles_as_torch_does() -> None:
    textures = load_textures(None, Generator().manual_seed(1), procedural=3)
    atlas = Atlas([level.numpy() for level in textures.levels], TILE, mirror=True)
    g = Generator().manual_seed(2)
    index, uv = torch.randint(3, (500,), generator=g), 4 * torch.rand(500, 2, generator=g) - 2
    footprint = torch.rand(500, generator=g) * 0.1
    ours = atlas.sample(index.numpy(), uv.numpy(), footprint.numpy()) / 255
    assert np.abs(ours - textures.sample(index, uv, footprint).numpy()).max() < 1e-3


def test_the_way_between_is_that_of_the_other_worlds(views: Views) -> None:
    a, b = (views.cameras.c2w[k].double() for k in range(2))
    for t in (-0.2, 0.0, 0.3, 1.0):
        assert np.allclose(between(a.numpy(), b.numpy(), t), between_in_torch(a, b, t).numpy(), atol=1e-4)


def test_cameras_do_not_stand_inside_things() -> None:
    mesh = Mesh()
    mesh.box((0, 0, 0), (0.3, 0.3, 0.3), mesh.material(Material((1, 1, 1))), 1.0)
    caster = Caster(mesh.finish())
    assert not free(caster, np.zeros(3), 0.5)
    assert not free(caster, np.array([0.35, 0, 0]), 0.1)
    assert free(caster, np.array([1.0, 0, 0]), 0.1)


def test_a_side_that_faces_away_from_a_light_does_not_see_it() -> None:
    """Thin things take the light of neighbours, and bright ones in their place would be specks."""
    mesh = Mesh()
    mesh.box((0, 0, -5), (1, 1, 1), mesh.material(Material((0.5, 0.5, 0.5))), 1.0)
    lamp = Light((0, 0, 2), ((0.1, 0, 0), (0, 0.1, 0)), np.ones(3))
    points, normals = np.zeros((2, 3), np.float32), np.array([[0, 0, 1], [0, 0, -1]], np.float32)
    seen = visibility(Caster(mesh.finish()), points, normals, np.ones(2, bool), [lamp], 1.0, (1, 2))
    assert seen.tolist() == [[1, 1], [1, 0]]


def test_the_same_seed_draws_the_same_scene(assets: Assets, views: Views) -> None:
    again = draw_furnished_scene(assets, 5, (96, 144), [0.5])
    assert torch.equal(again.images, views.images)
    assert again.depth is not None
    assert views.depth is not None
    assert torch.equal(again.depth, views.depth)
    assert not torch.equal(draw_furnished_scene(assets, 6, (96, 144), [0.5]).images, views.images)


@pytest.mark.parametrize("seed", range(4))
def test_what_both_views_see_lies_at_one_place_and_looks_alike(assets: Assets, seed: int) -> None:
    views = draw_furnished_scene(assets, seed, (96, 144), [0.5])
    assert views.depth is not None
    assert bool((views.depth > 0).all())
    cameras = views.cameras.to(torch.float64)
    points = unproject(views.depth[0].double(), cameras.K[0], cameras.c2w[0]).reshape(-1, 3)
    for other in (1, 2):
        pixels, z = project(points, cameras.K[other], cameras.c2w[other])
        x, y = (pixels - 0.5).round().long().unbind(-1)
        seen = (z > 0) & (x >= 0) & (x < 144) & (y >= 0) & (y < 96) & (views.depth[0].reshape(-1) < SKY)
        ratio = views.depth[other][y[seen], x[seen]] / z[seen]
        assert (ratio < 1.1).float().mean() > 0.85, "nothing is transparent"
        same = (ratio - 1).abs() < 0.02
        assert same.float().mean() > 0.3, "pairs overlap"
        first = views.images[0].reshape(3, -1)[:, seen][:, same]
        second = views.images[other][:, y[seen], x[seen]][:, same]
        shuffled = second[:, torch.randperm(second.shape[1], generator=Generator().manual_seed(0))]
        assert (first - second).abs().mean() < 0.05
        assert (first - second).abs().mean() < 0.5 * (first - shuffled).abs().mean()


def test_a_shard_of_furnished_worlds_has_the_form_of_the_others(assets: Assets, tmp_path: Path) -> None:
    shard = load_file(write_furnished_shard(tmp_path, assets, seed=0, number=1, scenes=1, size=(64, 96)))
    assert {key: (tuple(value.shape), value.dtype) for key, value in shard.items()} == {
        "images": ((1, 4, 3, 64, 96), torch.uint8),
        "depth": ((1, 4, 64, 96), torch.float16),
        "c2w": ((1, 4, 4, 4), torch.float32),
        "K": ((1, 3, 3), torch.float32),
    }
    again = load_file(write_furnished_shard(tmp_path, assets, seed=0, number=1, scenes=1, size=(64, 96)))
    assert torch.equal(shard["images"], again["images"])


def test_a_clip_of_a_furnished_world(assets: Assets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.distill.clips_of_worlds.SIZES", ((64, 96),))
    torch.manual_seed(0)
    network, textures = MVSplat(SMALL).eval(), load_textures(None, Generator().manual_seed(0), procedural=3)
    furnished = write_clips_of_worlds(tmp_path / "a", textures, assets, network, 0, 0, clips=1)
    again = write_clips_of_worlds(tmp_path / "b", textures, assets, network, 0, 0, clips=1)
    assert furnished.read_bytes() == again.read_bytes()
    clip = read_clip(furnished, 0)
    assert clip.truth.shape == (9, 3, 64, 96)
    assert float((clip.coverage > 128).float().mean()) > 0.5, "an untrained prior covers the photographs too"
    # One shard in twelve shows primitive shapes, with furniture and without.
    plain = write_clips_of_worlds(tmp_path / "c", textures, assets, network, 0, PRIMITIVE, clips=1)
    without = write_clips_of_worlds(tmp_path / "d", textures, None, network, 0, PRIMITIVE, clips=1)
    assert plain.read_bytes() == without.read_bytes()


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_only_a_clip_of_the_whole_path_begins_and_ends_at_the_photographs(
    assets: Assets, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.distill.clips_of_worlds.SHARES", (share,))
    monkeypatch.setattr("stages.distill.clips_of_worlds.take_photographs", lambda images, _: images)
    torch.manual_seed(0)
    network = MVSplat(SMALL).eval()
    clip = furnished_clip(assets, network, Generator().manual_seed(0), (64, 96), 5)
    differences = (clip.photographs - clip.truth[[0, -1]]).abs().mean((1, 2, 3))
    assert (float(differences.amax()) < 1e-4) == (share == 1)
