"""COLMAP models: world-to-camera poses (x right, y down, z forward), pinhole cameras, sparse points.

Written by pycolmap; read by colmap_binary, which says why.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.errors import InputError, RunError
from stages.files.colmap_binary import HINT, read_cameras, read_images, read_points
from stages.files.os_errors import writing
from stages.geometry import rotations
from stages.scene import Cameras

MODEL = Path("sparse", "0")  # where COLMAP puts the first model of a scene, and where 3DGS trainers look for it


def write_colmap(
    folder: Path,
    cameras: Cameras,
    names: list[str],
    points: Tensor | None = None,
    colors: Tensor | None = None,
    observations: Tensor | None = None,
) -> None:
    """Write a binary COLMAP model into folder/sparse/0: PINHOLE cameras (one if all agree), images 1..N in order, points.

    names: one image name a camera.  points: [P, 3], scene units.  colors: [P, 3] in [0, 1], grey where absent.
    observations: [O, 4], where points were seen: index of the point, index of the image, x, y (px); a point that is not among them has no
    track. Raises InputError on skewed intrinsics or NaN, RunError when the disk is full.
    """
    import pycolmap

    if len(names) != len(cameras):
        raise ValueError(f"{len(names)} names for {len(cameras)} cameras")
    K = cameras.K.detach().double().cpu().numpy()
    c2w = cameras.c2w.detach().double().cpu().numpy()
    if np.any(K[:, 0, 1]):
        raise InputError(f"cannot write {folder}", "a camera has skewed intrinsics", "give K = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
    model = pycolmap.Reconstruction()
    seen = _observations(folder, observations)
    shared = len(np.unique(K, axis=0)) == 1
    for index, k in enumerate(K[:1] if shared else K):
        h, w = cameras.size
        parameters = [k[0, 0], k[1, 1], k[0, 2], k[1, 2]]
        model.add_camera_with_trivial_rig(pycolmap.Camera(model="PINHOLE", width=w, height=h, params=parameters, camera_id=index + 1))
    for index, (pose, name) in enumerate(zip(c2w, names, strict=True)):
        # A quaternion is a rotation exactly, a matrix from a text file to 1e-4: the nearest one, or else the camera centre would move.
        left, _, right = np.linalg.svd(pose[:3, :3].T)
        rotation = left @ right
        w2c = np.concatenate([rotation, -rotation @ pose[:3, 3:]], axis=1)
        keypoints = seen[seen[:, 1] == index, 2:]
        image = pycolmap.Image(name=name, keypoints=keypoints, camera_id=1 if shared else index + 1, image_id=index + 1)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(w2c))
    xyz, rgb = _points(folder, points, colors)
    tracks = [pycolmap.Track() for _ in xyz]
    keypoint = np.zeros(len(cameras), dtype=int)
    for point, view in seen[:, :2].astype(int):
        tracks[point].add_element(int(view) + 1, int(keypoint[view]))
        keypoint[view] += 1
    for place, track, color in zip(xyz, tracks, rgb, strict=True):
        model.add_point3D(place, track, color)
    model.update_point_3d_errors()
    with writing(folder):
        (folder / MODEL).mkdir(parents=True, exist_ok=True)
        model.write_binary(str(folder / MODEL))
    try:
        read_colmap(folder)  # pycolmap does not notice a disk that fills up
    except InputError as error:
        raise RunError(f"cannot write {folder}", error.why, "check that the disk is not full and run again") from error


def _points(folder: Path, points: Tensor | None, colors: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """xyz [P, 3] float64 and rgb [P, 3] uint8."""
    xyz = np.zeros((0, 3)) if points is None else points.detach().double().cpu().numpy()
    rgb = torch.full(xyz.shape, 0.5) if colors is None else colors.detach().cpu()
    if not np.isfinite(xyz).all() or not bool(torch.isfinite(rgb).all()):
        raise InputError(f"cannot write {folder}", "some points or colours are NaN or infinite", "report this: no stage should make them")
    return xyz, (rgb.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _observations(folder: Path, observations: Tensor | None) -> np.ndarray:
    """Rows of point, image, x, y, [O, 4] float64."""
    seen = np.zeros((0, 4)) if observations is None else observations.detach().double().cpu().numpy()
    if not np.isfinite(seen).all():
        raise InputError(f"cannot write {folder}", "some observations are NaN or infinite", "report this: no stage should make them")
    return seen


def read_colmap(folder: Path) -> tuple[Cameras, list[str], Tensor]:
    """Read a binary COLMAP model from folder/sparse/0, or from the folder itself: cameras (float64), names, points [P, 3] (float64).

    Images come in the order of their ids. Raises InputError: no such model, damaged, no images, a camera that is distorted or no
    pinhole, images of several sizes, poses that are not rigid and finite.
    """
    root = folder / MODEL if (folder / MODEL).is_dir() else folder
    if not (root / "cameras.bin").is_file() and (root / "cameras.txt").is_file():
        raise InputError(f"cannot read {folder}", "a text model", "convert it: colmap model_converter --output_type BIN")
    intrinsics, images, points = read_cameras(root / "cameras.bin"), read_images(root / "images.bin"), read_points(root / "points3D.bin")
    what = f"cannot read {root}"
    if not images:
        raise InputError(what, "the model has no images", HINT)
    ordered = [images[identity] for identity in sorted(images)]
    if any(image.camera_id not in intrinsics for image in ordered):
        raise InputError(what, "an image has no camera", HINT)
    used = [intrinsics[image.camera_id] for image in ordered]
    if len({camera.size for camera in used}) > 1:
        raise InputError(what, "its images have different sizes", "resize all images to one size")
    K = torch.eye(3, dtype=torch.float64).repeat(len(ordered), 1, 1)
    K[:, (0, 1, 0, 1), (0, 1, 2, 2)] = torch.tensor([camera.intrinsics for camera in used], dtype=torch.float64)
    quaternion = torch.tensor([image.quaternion for image in ordered], dtype=torch.float64)
    if not bool((quaternion.norm(dim=-1) > 0).all()):
        raise InputError(what, "a pose has a rotation of length 0, or NaN", "the file is damaged: write it again")
    rotation = rotations(quaternion)
    translation = torch.tensor([image.translation for image in ordered], dtype=torch.float64)
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(ordered), 1, 1)
    c2w[:, :3, :3] = rotation.mT
    c2w[:, :3, 3:] = -rotation.mT @ translation[:, :, None]
    if not np.isfinite(points).all():
        raise InputError(what, "some points are NaN or infinite", "the file is damaged: write it again")
    try:
        return Cameras(c2w, K, used[0].size), [image.name for image in ordered], torch.from_numpy(points)
    except InputError as error:
        raise InputError(what, error.why, error.hint) from error
