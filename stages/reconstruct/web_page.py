"""A scene as one HTML file: viewer.html with the Gaussians and the cameras of a path inside. It needs no server and no network."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.files.os_errors import writing
from stages.geometry import distance_to_cameras
from stages.scene import Cameras, Gaussians
from stages.splat import NEAR

VIEWER = Path(__file__).with_name("viewer.html")


def write_page(path: Path, gaussians: Gaussians, cameras: Cameras) -> None:
    """Write the page. It shows the first camera; a slider goes along the rest, and `page.html#12` opens camera 12.

    32 bytes a Gaussian: colours without view dependence, colour and opacity of 8 bits. The unit of the page is the median distance of the
    Gaussians from the cameras, so that small and large scenes keep the same precision. Raises RunError when the disk is full.
    """
    g = gaussians.to("cpu")
    unit = float(distance_to_cameras(g.means, cameras.to("cpu")).median())
    poses = cameras.c2w.detach().double().cpu().clone()
    poses[:, :3, 3] /= unit
    K = cameras.K.detach().double().cpu()
    lenses = K[:, (0, 1, 0, 1), (0, 1, 2, 2)]
    facts = {
        "size": [cameras.size[1], cameras.size[0]],
        "near": NEAR,
        "cameras": [{"pose": pose[:3].tolist(), "lens": lens.tolist()} for pose, lens in zip(poses, lenses, strict=True)],
    }
    packed = base64.b64encode(_pack(g, unit)).decode("ascii")
    text = VIEWER.read_text(encoding="utf-8").replace("{{FACTS}}", json.dumps(facts)).replace("{{GAUSSIANS}}", packed)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _pack(g: Gaussians, unit: float) -> bytes:
    """The records that viewer.html describes."""
    layout = np.dtype([("mean", "<f4", 3), ("colour", "u1", 4), ("scales", "<f2", 4), ("quat", "<i2", 4)])
    table = np.zeros(len(g), layout)
    table["mean"] = (g.means / unit).numpy()
    table["colour"] = _bytes(torch.cat([g.colours, g.opacities[:, None]], 1))
    table["scales"][:, :3] = (g.scales / unit).clamp_max(6e4).numpy()
    table["quat"] = (torch.nn.functional.normalize(g.quats, dim=-1) * 32767).round().numpy()
    return table.tobytes()


def _bytes(values: Tensor) -> np.ndarray:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
