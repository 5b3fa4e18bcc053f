"""What nerfstudio 1.1.5 asks of a folder with transforms.json, written from its NerfstudioDataParser.

nerfstudio itself needs CUDA packages, so tests read folders by its rules.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from plyfile import PlyData

PERSPECTIVE = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")  # values of camera_model for it


def read_by_nerfstudios_rules(folder: Path) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Image paths, sorted by name as nerfstudio sorts them; K [N, 3, 3], px; camera-to-world [N, 3, 4], OpenGL axes.

    Fails where nerfstudio would fail or would misunderstand the file.
    """
    meta = json.loads((folder / "transforms.json").read_text())
    assert meta.get("camera_model", "OPENCV") in PERSPECTIVE
    frames = sorted(meta["frames"], key=lambda frame: folder / frame["file_path"])
    values = {}
    for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
        # A key at the top counts for all frames. Then those of frames are ignored and must not differ.
        assert key not in meta or all(key not in frame for frame in frames)
        values[key] = [meta[key] if key in meta else frame[key] for frame in frames]
    assert all(meta.get(key, 0.0) == 0 for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    for key in ("mask_path", "depth_file_path"):
        assert len({key in frame for frame in frames}) == 1, f"{key} is for all frames or for none"
    paths = [folder / frame["file_path"] for frame in frames]
    for path, width, height in zip(paths, values["w"], values["h"], strict=True):
        with Image.open(path) as image:
            assert image.size == (width, height)
    K = np.zeros((len(frames), 3, 3))
    K[:, (0, 1, 0, 1), (0, 1, 2, 2)] = np.array([values[key] for key in ("fl_x", "fl_y", "cx", "cy")]).T
    K[:, 2, 2] = 1
    poses = np.array([frame["transform_matrix"] for frame in frames])
    assert poses.shape == (len(frames), 4, 4)
    return paths, K, poses[:, :3]


def read_points(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The points that splatfacto starts from, [P, 3], and their colours, [P, 3], uint8; as open3d reads them."""
    meta = json.loads((folder / "transforms.json").read_text())
    vertex = PlyData.read(folder / meta["ply_file_path"])["vertex"]
    points, colours = (np.stack([vertex[name] for name in names], 1) for names in ("xyz", ("red", "green", "blue")))
    assert colours.dtype == np.uint8
    return points, colours
