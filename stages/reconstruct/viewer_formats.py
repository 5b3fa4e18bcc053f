"""Files for viewers: .splat (antimatter15), compressed PLY (PlayCanvas, SuperSplat), a PLY and a web page.

gsplat's exporter writes the first two. The PLY holds spherical harmonics of degree 3.
"""

from pathlib import Path

import torch

from stages.errors import InputError
from stages.files.os_errors import writing
from stages.files.ply import write_ply
from stages.reconstruct.web_page import write_page
from stages.scene import Cameras, Gaussians

# The file name of each format.
FORMATS = {
    "splat": "scene.splat",
    "compressed-ply": "scene.compressed.ply",
    "sh3-ply": "scene.sh3.ply",  # for readers that insist on spherical harmonics of degree 3, as 3DGS itself does
    "html": "scene.html",
}
CHUNK = 256  # number of Gaussians in a compressed PLY whose quantised values share one range


def export(folder: Path, gaussians: Gaussians, cameras: Cameras, form: str) -> Path:
    """Write the Gaussians in a format of FORMATS and return the path of the file.

    All formats but sh3-ply lose precision. `.splat` and the page keep 8 bits of colour and no dependence on the view
    direction.
    cameras: the path that the page offers.  Raises InputError for an unknown format, RunError when the disk is full.
    """
    if form not in FORMATS:
        hint = f"choose one of: {', '.join(FORMATS)}"
        raise InputError(f"no export format {form!r}", "there is no such format", hint)
    path = folder / FORMATS[form]
    if form == "html":
        write_page(path, gaussians, cameras)
        return path
    if form == "sh3-ply":
        write_ply(path, gaussians, [], degree=3)
        return path
    from gsplat.exporter import export_splats

    g = gaussians.to("cpu")
    # The exporter divides by the extent of each chunk, and a single Gaussian has no extent. So the first Gaussian is
    # dropped if a chunk would hold one alone.
    if len(g) % CHUNK == 1:
        g = Gaussians(g.means[1:], g.scales[1:], g.quats[1:], g.opacities[1:], g.sh[1:])
    logits, log_scales = g.opacities.clamp(1e-6, 1 - 1e-6).logit(), g.scales.clamp_min(1e-12).log()
    kind = {"splat": "splat", "compressed-ply": "ply_compressed"}[form]
    with torch.no_grad():
        data = export_splats(g.means, log_scales, g.quats, logits, g.sh[:, :1], g.sh[:, 1:], kind)
    if kind == "ply_compressed" and g.sh.shape[1] == 1:
        # The exporter lists an element without properties for the harmonics that are not there, and readers refuse it.
        data = data.replace(f"element sh {len(g)}\n".encode(), b"", 1)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return path
