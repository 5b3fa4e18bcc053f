"""Files for viewers in a browser: .splat (antimatter15) and compressed PLY (PlayCanvas, SuperSplat), by gsplat's exporter, and a page."""

from __future__ import annotations

from pathlib import Path

import torch

from stages.errors import InputError
from stages.files.os_errors import writing
from stages.reconstruct.web_page import write_page
from stages.scene import Cameras, Gaussians

FORMATS = {"splat": "scene.splat", "compressed-ply": "scene.compressed.ply", "html": "scene.html"}  # name -> the file it makes
CHUNK = 256  # Gaussians that share the ranges of their quantised values in a compressed PLY


def export(folder: Path, gaussians: Gaussians, cameras: Cameras, form: str) -> Path:
    """Write the Gaussians in one of FORMATS; returns the file's path. Lossy: .splat and page keep 8 bits of colour, no view dependence.

    cameras: of the path that the page offers.  Raises InputError for an unknown format, RunError when the disk is full.
    """
    if form not in FORMATS:
        raise InputError(f"no export format {form!r}", "it is not one of those that can be written", f"known: {', '.join(FORMATS)}")
    path = folder / FORMATS[form]
    if form == "html":
        write_page(path, gaussians, cameras)
        return path
    from gsplat.exporter import export_splats

    g = gaussians.to("cpu")
    if len(g) % CHUNK == 1:  # the exporter divides by the extent of a chunk, and one Gaussian has none
        g = Gaussians(g.means[1:], g.scales[1:], g.quats[1:], g.opacities[1:], g.sh[1:])
    logits, log_scales = g.opacities.clamp(1e-6, 1 - 1e-6).logit(), g.scales.clamp_min(1e-12).log()
    kind = {"splat": "splat", "compressed-ply": "ply_compressed"}[form]
    with torch.no_grad():
        data = export_splats(g.means, log_scales, g.quats, logits, g.sh[:, :1], g.sh[:, 1:], kind)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return path
