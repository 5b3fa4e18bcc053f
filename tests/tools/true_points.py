"""Points of a posed scene whose depth is known: features of all its frames, triangulated with the given poses.

COLMAP finds the features (SIFT), matches and triangulates them. Only what a context frame of a case shows is wanted,
so every context frame is matched with every other frame. A point is kept when at least three frames see it, each within
one pixel of where it projects, and two of them at an angle of more than two degrees. Points lie where pictures have
texture: they say nothing about bare walls.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from stages.errors import InputError
from stages.evaluate.cases import Case
from stages.files.documents import sha256_file
from stages.files.images import read_image, write_png
from stages.files.publish import publish
from stages.files.transforms import read_transforms
from stages.geometry import project
from stages.scene import Cameras

LEAST_FRAMES = 3
MOST_ERROR = 1.0  # px, of each frame that sees a point
LEAST_ANGLE = 2.0  # degrees between the rays of two frames
VERSION = "1"  # of what this file computes; points that another version cached are computed again


@dataclass(frozen=True)
class TruePoints:
    """xyz: [P, 3], world, float64.

    seen: [O, 2], a point (first column) and a frame of transforms.json that sees it (second column).
    """

    xyz: Tensor
    seen: Tensor

    def of_frame(self, frame: int) -> Tensor:
        """Indices of the points that a frame sees, [N], ascending."""
        return self.seen[self.seen[:, 1] == frame, 0].sort().values


def cached_points(scene: Path, cases: Sequence[Case], folder: Path) -> TruePoints:
    """The points of a scene from folder/SCENE.safetensors, which is written first when it is missing or out of date.

    It is out of date when a picture, a camera, a case or this program has changed.
    """
    path = folder / f"{scene.name}.safetensors"
    made_from = _made_from(scene, cases)
    if path.is_file():
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("made_from") == made_from:
                return TruePoints(file.get_tensor("xyz"), file.get_tensor("seen"))
    points = triangulated_points(scene, cases)
    with publish(path) as partial:
        save_file({"xyz": points.xyz, "seen": points.seen}, partial, {"made_from": made_from})
    return points


def _made_from(scene: Path, cases: Sequence[Case]) -> str:
    """One hash of everything that the points depend on."""
    _, names = read_transforms(scene / "transforms.json")
    files = [sha256_file(path) for path in (scene / "transforms.json", *(scene / name for name in names))]
    return hashlib.sha256(repr((VERSION, _context_frames(cases), files)).encode()).hexdigest()


def _context_frames(cases: Sequence[Case]) -> list[int]:
    return sorted({frame for case in cases for frame in case.context})


def triangulated_points(scene: Path, cases: Sequence[Case]) -> TruePoints:
    """Triangulate what the context frames of the cases see; the same scene gives the same points.

    Raises InputError when a frame cannot be read or is of another size.
    """
    import pycolmap

    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value  # it reports every image on stderr
    pycolmap.set_random_seed(0)
    cameras, names = read_transforms(scene / "transforms.json")
    frames = [f"{index:06d}.png" for index in range(len(names))]
    pairs = {tuple(sorted((a, b))) for a in _context_frames(cases) for b in range(len(frames)) if a != b}
    extraction, matching = pycolmap.FeatureExtractionOptions(), pycolmap.FeatureMatchingOptions()
    extraction.use_gpu = matching.use_gpu = False
    # On several threads the order of images in the database, and with it the result, would change from run to run.
    extraction.num_threads = matching.num_threads = 1
    with tempfile.TemporaryDirectory() as name:
        folder, database = Path(name, "images"), Path(name, "database.db")
        for frame, file_path in zip(frames, names, strict=True):
            write_png(folder / frame, _sized(scene / file_path, cameras.size))
        pycolmap.extract_features(
            database, folder, camera_mode=pycolmap.CameraMode.PER_IMAGE, extraction_options=extraction
        )
        _tell_intrinsics(database, cameras)
        listed = Path(name, "pairs.txt")
        listed.write_text("".join(f"{frames[a]} {frames[b]}\n" for a, b in sorted(pairs)))
        pairing = pycolmap.ImportedPairingOptions()
        pairing.match_list_path = listed
        pycolmap.match_image_pairs(database, matching_options=matching, pairing_options=pairing)
        Path(name, "model").mkdir()
        model = pycolmap.triangulate_points(
            _posed(database, cameras), database, folder, Path(name, "model"), options=_options()
        )
        found = sorted(model.points3D.items())
        number = {identity: int(Path(image.name).stem) for identity, image in model.images.items()}
    xyz = torch.from_numpy(np.array([point.xyz for _, point in found], dtype=np.float64).reshape(-1, 3))
    rows = [
        (index, number[element.image_id], *model.images[element.image_id].points2D[element.point2D_idx].xy)
        for index, (_, point) in enumerate(found)
        for element in point.track.elements
    ]
    return keep_good(xyz, torch.tensor(rows, dtype=torch.float64).reshape(-1, 4), cameras)


def keep_good(xyz: Tensor, observations: Tensor, cameras: Cameras) -> TruePoints:
    """The points that enough frames see well enough.

    xyz: [P, 3].  observations: [O, 4], index of the point, index of the frame, x, y (px).  cameras: of the frames.
    An observation that misses the projection of its point counts for nothing.
    """
    point, frame = observations[:, :2].long().unbind(1)
    good = torch.zeros(len(observations), dtype=torch.bool)
    for index in frame.unique().tolist():
        here = (frame == index).nonzero()[:, 0]
        pixels, z = project(xyz[point[here]], cameras.K[index], cameras.c2w[index])
        good[here] = (z > 0) & ((pixels - observations[here, 2:]).norm(dim=1) < MOST_ERROR)
    # Two features of a frame, of two orientations, may be of one point.
    seen = torch.stack([point[good], frame[good]], 1).unique(dim=0)
    kept = torch.zeros(len(xyz), dtype=torch.bool)
    for index in seen[:, 0].unique().tolist():
        frames = seen[seen[:, 0] == index, 1]
        rays = F.normalize(xyz[index] - cameras.c2w[frames, :3, 3], dim=1)
        angle = torch.rad2deg(torch.acos((rays @ rays.mT).clamp(-1, 1).min()))
        kept[index] = len(frames) >= LEAST_FRAMES and float(angle) > LEAST_ANGLE
    seen = seen[kept[seen[:, 0]]]
    return TruePoints(xyz[kept], torch.stack([(kept.cumsum(0) - 1)[seen[:, 0]], seen[:, 1]], 1))


def _options():  # type: ignore[no-untyped-def]
    """COLMAP's triangulation on one thread, with the limits of `keep_good` applied as early as it can."""
    import pycolmap

    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = 1, 0
    options.mapper.num_threads = 1
    options.mapper.filter_max_reproj_error = MOST_ERROR
    options.mapper.filter_min_tri_angle = LEAST_ANGLE
    options.extract_colors = False
    return options


def _tell_intrinsics(database: Path, cameras: Cameras) -> None:
    """Replace the guessed camera of every image by its true one, with which matches are verified."""
    import pycolmap

    h, w = cameras.size
    with pycolmap.Database.open(database) as opened:
        for image in opened.read_all_images():
            K = cameras.K[int(Path(image.name).stem)]
            parameters = [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])]
            camera = pycolmap.Camera(model="PINHOLE", width=w, height=h, params=parameters, camera_id=image.camera_id)
            camera.has_prior_focal_length = True
            opened.update_camera(camera)


def _posed(database: Path, cameras: Cameras):  # type: ignore[no-untyped-def]
    """A COLMAP model of the images of the database with their true poses and no points."""
    import pycolmap

    model = pycolmap.Reconstruction()
    with pycolmap.Database.open(database) as opened:
        for camera in opened.read_all_cameras():
            model.add_camera(camera)
        for rig in opened.read_all_rigs():
            model.add_rig(rig)
        images = opened.read_all_images()
        number = {image.frame_id: int(Path(image.name).stem) for image in images}
        for frame in opened.read_all_frames():
            c2w = cameras.c2w[number[frame.frame_id]]
            left, _, right = torch.linalg.svd(c2w[:3, :3].mT)  # a matrix from a text file is a rotation only nearly
            rotation = left @ right
            frame.rig_from_world = pycolmap.Rigid3d(torch.cat([rotation, -rotation @ c2w[:3, 3:]], 1).numpy())
            model.add_frame(frame)
        for image in images:
            model.add_image(image)
    for identity in number:
        model.register_frame(identity)
    return model


def _sized(path: Path, size: tuple[int, int]) -> Tensor:
    image = read_image(path)
    if image.shape[1:] != size:
        why = f"{image.shape[2]} x {image.shape[1]} pixels, its cameras say {size[1]} x {size[0]}"
        raise InputError(f"cannot use {path}", why, "give the images that belong to transforms.json")
    return image
