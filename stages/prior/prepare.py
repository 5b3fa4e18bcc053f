"""Makes the prior's input from two photographs: views of one size with cameras, and the depth range of the scene."""

import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from stages.errors import InputError
from stages.files.exif import read_focals
from stages.files.images import as_in_png, read_image
from stages.files.known_cameras import read_known_cameras
from stages.files.transforms import as_in_transforms
from stages.geometry import crop_intrinsics, resize_intrinsics
from stages.prior.pose import estimate_cameras, match_views
from stages.scene import Cameras, Views
from stages.sizes import resized_images, result_size, with_small_images

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Prepared:
    """The prior's input.

    views: the two photographs, resized and cropped, with cameras and matched points.
    near_far: [2, 2], camera z range of each view, scene units.
    facts: entries of the manifest, such as the source of the cameras.
    """

    views: Views
    near_far: Tensor
    facts: dict[str, object]


def cover(image: Tensor, K: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Resize an image [3, h, w] to cover `size` (h, w) and crop the centre. K: [3, 3], px, is changed with it."""
    old = (image.shape[-2], image.shape[-1])
    scale = max(size[0] / old[0], size[1] / old[1])
    new = (max(size[0], round(old[0] * scale)), max(size[1], round(old[1] * scale)))
    image = resized_images(image[None], new)[0]
    top, left = (new[0] - size[0]) // 2, (new[1] - size[1]) // 2
    image = image[:, top : top + size[0], left : left + size[1]]
    return image, crop_intrinsics(resize_intrinsics(K, old, new), left, top)


def prepare(
    paths: tuple[Path, Path],
    short_side: int | None = 480,
    cameras_file: Path | None = None,
    device: torch.device = CPU,
) -> Prepared:
    """Read two photographs and estimate their cameras, or read the cameras from a file.

    short_side: shorter side of the result, px, or None for the size of the first photograph, which is never exceeded.
    cameras_file: a transforms.json with the two photographs, matched by file name, else in order; or a COLMAP folder.
    device: where the photographs are in the result. Without `cameras_file` they are also matched there. The cameras of
    the result are on the CPU.
    Warns (RuntimeWarning) when the estimated cameras may be wrong.
    Raises InputError (unreadable files, cameras that do not fit) and RunError (no overlap, no baseline).
    """
    photos = (read_image(paths[0]), read_image(paths[1]))
    if cameras_file is None:
        on_device = [photo.to(device) for photo in photos]
        geometry = estimate_cameras(on_device, (read_focals(paths[0]), read_focals(paths[1])))
        if geometry.doubts:
            doubts = "; ".join(geometry.doubts)
            text = f"the cameras of {paths[0]} and {paths[1]} may be wrong: {doubts}; give known ones with --cameras"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        c2w, K, facts = geometry.c2w, geometry.K, geometry.facts()
    else:
        c2w, K = _read_cameras(paths, photos, cameras_file)
        geometry, facts = None, {"cameras": "given"}
    # Bring both photographs to the size of the result, which has the proportions of the first one. Add small copies for
    # the networks.
    size = result_size((photos[0].shape[-2], photos[0].shape[-1]), short_side)
    resized = [cover(photo, own_K, size) for photo, own_K in zip(photos, K, strict=True)]
    images = as_in_png(torch.stack([image for image, _ in resized]))
    cameras = as_in_transforms(Cameras(c2w, torch.stack([own_K for _, own_K in resized]), size))
    views = with_small_images(Views(images, cameras))
    if geometry is None:
        views, near_far = match_views(views)
    else:
        views, near_far = replace(views, points=geometry.points), geometry.near_far
    facts |= {"near_far": near_far.tolist(), "size": list(size), "network_size": list(views.cameras.size)}
    return Prepared(views.to(device), near_far.float(), facts)


def _read_cameras(paths: tuple[Path, Path], photos: tuple[Tensor, Tensor], cameras_file: Path) -> tuple[Tensor, Tensor]:
    """c2w [2, 4, 4] and K [2, 3, 3] (px of the photographs) from a file or folder with cameras."""
    # The frame of each photograph, by name.
    cameras, names = read_known_cameras(cameras_file)
    frames = [_frame_of(path, names, cameras_file.parent) for path in paths]
    if None in frames:
        if len(cameras) != 2:
            why = f"it has {len(cameras)} frames and none is called {paths[frames.index(None)].name}"
            hint = "name the photographs in file_path, or give a file with exactly two frames"
            raise InputError(f"{cameras_file} does not name the photographs", why, hint)
        # A photograph without a frame of its name gets the other frame. If neither has one, the frames are in order.
        frame = next((k for k in frames if k is not None), None)
        frames = [0, 1] if frame is None else [1 - frame if k is None else k for k in frames]
    pair = cameras[[k for k in frames if k is not None]]
    # Intrinsics in pixels of the photographs, whose size may differ from that of the cameras.
    K = []
    for photo, intrinsics in zip(photos, pair.K, strict=True):
        size = (photo.shape[-2], photo.shape[-1])
        if not math.isclose(size[0] / size[1], pair.size[0] / pair.size[1], rel_tol=0.02):
            why = f"cameras are for {pair.size[1]} x {pair.size[0]} px, a photograph has {size[1]} x {size[0]}"
            what, hint = f"{cameras_file} does not fit the photographs", "give cameras of the same aspect ratio"
            raise InputError(what, why, hint)
        K.append(resize_intrinsics(intrinsics, pair.size, size))
    return pair.c2w, torch.stack(K)


def _frame_of(photo: Path, names: list[str], folder: Path) -> int | None:
    """Index of a photograph's frame: the one with its path, else the only one with its file name, else None.

    A frame may name its file without the ending.
    """
    same_file = [k for k, name in enumerate(names) if (folder / name).resolve() == photo.resolve()]
    same_name = [k for k, name in enumerate(names) if Path(name).name in (photo.name, photo.stem)]
    return next((frames[0] for frames in (same_file, same_name) if len(frames) == 1), None)
