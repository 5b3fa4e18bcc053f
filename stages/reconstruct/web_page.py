"""A scene as one HTML file that needs no server and no network: viewer.html, with Gaussians and cameras inside."""

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

VIEWER = Path(__file__).with_name("viewer.html")  # describes the data that it expects


def write_page(path: Path, gaussians: Gaussians, cameras: Cameras) -> None:
    """Write the page. It opens with the first camera and has a slider for the others; `page.html#12` opens camera 12.

    A Gaussian takes 32 bytes. Colour and opacity have 8 bits, and colour does not depend on the view direction. Lengths
    are divided by the median distance of the Gaussians from the cameras, so that precision does not depend on the
    scene's size. Raises RunError when the disk is full.
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
        "cameras": [{"pose": p[:3].tolist(), "lens": lens.tolist()} for p, lens in zip(poses, lenses, strict=True)],
    }
    packed = base64.b64encode(_pack(g, unit)).decode("ascii")
    text = VIEWER.read_text(encoding="utf-8").replace("{{FACTS}}", json.dumps(facts)).replace("{{GAUSSIANS}}", packed)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _pack(g: Gaussians, unit: float) -> bytes:
    """The Gaussians as the binary rows that viewer.html describes. unit: the page's unit of length, scene units."""
    layout = np.dtype([("mean", "<f4", 3), ("colour", "u1", 4), ("scales", "<f2", 4), ("quat", "<i2", 4)])
    table = np.zeros(len(g), layout)
    table["mean"] = (g.means / unit).numpy()
    table["colour"] = _bytes(torch.cat([g.colours, g.opacities[:, None]], 1))
    table["scales"][:, :3] = (g.scales / unit).clamp_max(6e4).numpy()
    table["quat"] = (torch.nn.functional.normalize(g.quats, dim=-1) * 32767).round().numpy()
    return table.tobytes()


def _bytes(values: Tensor) -> np.ndarray:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
