"""COLMAP models: world-to-camera poses (x right, y down, z forward), pinhole cameras, sparse points.

pycolmap writes them. colmap_binary.py reads them, because pycolmap does not survive damaged files.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.errors import InputError, RunError
from stages.files.colmap_binary import HINT, read_cameras, read_images
from stages.files.os_errors import writing
from stages.geometry import rotations
from stages.scene import Cameras

MODEL = Path("sparse", "0")  # the folder of a scene's first model, where COLMAP writes it and 3DGS trainers look for it


REPORT = "report this: no stage should produce them"
DAMAGED = "the file is damaged: write it again"


def write_colmap(
    folder: Path,
    cameras: Cameras,
    names: list[str],
    points: Tensor | None = None,
    colors: Tensor | None = None,
    observations: Tensor | None = None,
) -> None:
    """Write a binary COLMAP model into folder/sparse/0, with PINHOLE cameras and images numbered from 1.

    names: one image name per camera.  points: [P, 3], scene units.  colors: [P, 3] in [0, 1], by default grey.
    observations: [O, 4], rows of point index, image index, x, y (px); a point without observations gets an empty track.
    Raises InputError on skewed intrinsics or NaN, RunError when the disk is full.
    """
    import pycolmap

    if len(names) != len(cameras):
        raise ValueError(f"{len(names)} names for {len(cameras)} cameras")
    K = cameras.K.detach().double().cpu().numpy()
    c2w = cameras.c2w.detach().double().cpu().numpy()
    if np.any(K[:, 0, 1]):
        why, hint = "a camera has skewed intrinsics", "give K = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
        raise InputError(f"cannot write {folder}", why, hint)
    model = pycolmap.Reconstruction()
    rows = _observations(folder, observations)
    # Cameras.
    shared = len(np.unique(K, axis=0)) == 1
    for index, k in enumerate(K[:1] if shared else K):
        h, w = cameras.size
        parameters = [k[0, 0], k[1, 1], k[0, 2], k[1, 2]]
        camera = pycolmap.Camera(model="PINHOLE", width=w, height=h, params=parameters, camera_id=index + 1)
        model.add_camera_with_trivial_rig(camera)
    # Images: poses and keypoints.
    for index, (pose, name) in enumerate(zip(c2w, names, strict=True)):
        # COLMAP stores an exact rotation (a quaternion), but a matrix from a text file is a rotation only to 1e-4. So
        # the nearest rotation is taken before the translation is computed, or else the camera centre would move.
        left, _, right = np.linalg.svd(pose[:3, :3].T)
        rotation = left @ right
        w2c = np.concatenate([rotation, -rotation @ pose[:3, 3:]], axis=1)
        keypoints = rows[rows[:, 1] == index, 2:]
        image = pycolmap.Image(name=name, keypoints=keypoints, camera_id=1 if shared else index + 1, image_id=index + 1)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(w2c))
    # Points. A track element names an image and the number of a keypoint in it.
    xyz, rgb = _points(folder, points, colors)
    tracks = [pycolmap.Track() for _ in xyz]
    keypoint = np.zeros(len(cameras), dtype=int)
    for point, view in rows[:, :2].astype(int):
        tracks[point].add_element(int(view) + 1, int(keypoint[view]))
        keypoint[view] += 1
    for position, track, color in zip(xyz, tracks, rgb, strict=True):
        model.add_point3D(position, track, color)
    model.update_point_3d_errors()
    with writing(folder):
        (folder / MODEL).mkdir(parents=True, exist_ok=True)
        model.write_binary(str(folder / MODEL))
    # pycolmap does not notice when the disk fills up, so the length of points3D.bin is checked: a count (8 bytes), 51
    # bytes per point and 8 per observation.
    try:
        read_colmap(folder)
        why = "points3D.bin is cut off"
        whole = (folder / MODEL / "points3D.bin").stat().st_size == 8 + 51 * len(xyz) + 8 * len(rows)
    except InputError as error:
        whole, why = False, error.why
    if not whole:
        raise RunError(f"cannot write {folder}", why, "check that the disk is not full and run again")


def _points(folder: Path, points: Tensor | None, colors: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """xyz [P, 3] float64 and rgb [P, 3] uint8."""
    xyz = np.zeros((0, 3)) if points is None else points.detach().double().cpu().numpy()
    rgb = torch.full(xyz.shape, 0.5) if colors is None else colors.detach().cpu()
    if not np.isfinite(xyz).all() or not bool(torch.isfinite(rgb).all()):
        raise InputError(f"cannot write {folder}", "some points or colours are NaN or infinite", REPORT)
    return xyz, (rgb.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _observations(folder: Path, observations: Tensor | None) -> np.ndarray:
    """Rows of point, image, x, y, [O, 4] float64."""
    rows = np.zeros((0, 4)) if observations is None else observations.detach().double().cpu().numpy()
    if not np.isfinite(rows).all():
        raise InputError(f"cannot write {folder}", "some observations are NaN or infinite", REPORT)
    return rows


def model_folder(folder: Path) -> Path | None:
    """The folder of the COLMAP model of a scene: sparse/0, sparse, or the folder itself. None if there is no model."""
    candidates = (folder / MODEL, folder / MODEL.parent, folder)
    return next(
        (path for path in candidates if any((path / f"cameras.{kind}").is_file() for kind in ("bin", "txt"))), None
    )


def model_files(folder: Path) -> dict[str, Path]:
    """The files of a COLMAP model that `read_colmap` reads, by what they hold. Raises InputError without a model."""
    root = model_folder(folder)
    if root is None:
        why = f"there is no COLMAP model: neither cameras.bin nor {MODEL}/cameras.bin"
        raise InputError(f"cannot read {folder}", why, HINT)
    if not (root / "cameras.bin").is_file():
        hint = f"convert it: colmap model_converter --input_path {root} --output_path {root} --output_type BIN"
        raise InputError(f"cannot read {root}", "it is a text model", hint)
    return {"cameras": root / "cameras.bin", "images": root / "images.bin"}


def read_colmap(folder: Path) -> tuple[Cameras, list[str]]:
    """Read a binary COLMAP model from folder/sparse/0, folder/sparse, or from the folder itself.

    Returns cameras, in float64, and image names in the order of the image ids. Points are not read.
    Raises InputError when there is no such model, when it is damaged or has no images, a camera that is distorted or
    not a pinhole, images of several sizes, or poses that are not rigid and finite.
    """
    files = model_files(folder)
    intrinsics, images = read_cameras(files["cameras"]), read_images(files["images"])
    what = f"cannot read {files['cameras'].parent}"
    if not images:
        raise InputError(what, "the model has no images", HINT)
    # Images in order, each with its camera.
    ordered = [images[identity] for identity in sorted(images)]
    if any(image.camera_id not in intrinsics for image in ordered):
        raise InputError(what, "an image has no camera", HINT)
    used = [intrinsics[image.camera_id] for image in ordered]
    if len({camera.size for camera in used}) > 1:
        raise InputError(what, "its images have different sizes", "resize all images to one size")
    # Intrinsics and camera-to-world poses.
    K = torch.eye(3, dtype=torch.float64).repeat(len(ordered), 1, 1)
    K[:, (0, 1, 0, 1), (0, 1, 2, 2)] = torch.tensor([camera.intrinsics for camera in used], dtype=torch.float64)
    quaternion = torch.tensor([image.quaternion for image in ordered], dtype=torch.float64)
    if not bool((quaternion.norm(dim=-1) > 0).all()):
        raise InputError(what, "the quaternion of a pose has length 0 or is NaN", DAMAGED)
    rotation = rotations(quaternion)
    translation = torch.tensor([image.translation for image in ordered], dtype=torch.float64)
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(ordered), 1, 1)
    c2w[:, :3, :3] = rotation.mT
    c2w[:, :3, 3:] = -rotation.mT @ translation[:, :, None]
    try:
        return Cameras(c2w, K, used[0].size), [image.name for image in ordered]
    except InputError as error:
        raise InputError(what, error.why, error.hint) from error
