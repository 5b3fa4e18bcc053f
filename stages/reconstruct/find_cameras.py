"""Cameras of photographs that have none, by structure from motion (COLMAP's incremental mapper)."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from stages.errors import InputError, RunError
from stages.files.images import write_png
from stages.scene import Cameras

ENOUGH = 0.5  # at least this share of the photographs must get a camera in one model


def find_poses(images: Tensor) -> tuple[Cameras, list[int]]:
    """Cameras of photographs of one scene, taken with one lens, in any order.

    images: [N, 3, h, w].  Returns the cameras of the photographs that fit together (float64, in COLMAP's scale), and
    the indices of these photographs. The same images give the same cameras, because COLMAP runs on one thread with a
    fixed seed.
    Raises InputError for fewer than three photographs, RunError when too few of them fit together.
    """
    count = len(images)
    if count < 3:
        hint = "give three or more, or use videoscene prior on two"
        raise InputError("cannot find the cameras", f"{count} photographs", hint)
    import pycolmap

    pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value  # otherwise it reports every image on stderr
    pycolmap.set_random_seed(0)
    # COLMAP reads images from a folder. It extracts features, matches all pairs, and then finds the cameras.
    with tempfile.TemporaryDirectory() as name:
        folder, database = Path(name, "images"), Path(name, "database.db")
        for index, image in enumerate(images):
            write_png(folder / f"{index:06d}.png", image)
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = "SIMPLE_PINHOLE"
        extraction, matching = pycolmap.FeatureExtractionOptions(), pycolmap.FeatureMatchingOptions()
        mapping = pycolmap.IncrementalPipelineOptions()
        extraction.use_gpu = matching.use_gpu = False
        # COLMAP numbers photographs in the order in which their features are finished, so only one thread works.
        extraction.num_threads = matching.num_threads = mapping.num_threads = 1
        pycolmap.extract_features(
            database,
            folder,
            camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=reader,
            extraction_options=extraction,
        )
        pycolmap.match_exhaustive(database, matching_options=matching)
        models = pycolmap.incremental_mapping(database, folder, Path(name, "models"), mapping)
    # The largest model that it found.
    best = max(models.values(), key=lambda model: model.num_reg_images(), default=None)
    posed = 0 if best is None else best.num_reg_images()
    if best is None or posed < max(3, ENOUGH * count):
        why = f"{posed} of {count} photographs fit together"
        hint = "give more photographs, nearer to one another, or a transforms.json"
        raise RunError("cannot find the cameras", why, hint)
    # Its cameras, in the order of the photographs.
    model = sorted((image for image in best.images.values() if image.has_pose), key=lambda image: image.name)
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(model), 1, 1)
    c2w[:, :3] = torch.stack([torch.from_numpy(image.cam_from_world().inverse().matrix()) for image in model])
    K = torch.stack([torch.from_numpy(best.cameras[image.camera_id].calibration_matrix()) for image in model])
    return Cameras(c2w, K, (images.shape[-2], images.shape[-1])), [int(Path(image.name).stem) for image in model]
