"""`reconstruct --view`: shows the finished scene in a browser, served by viser until Ctrl-C."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from stages.errors import InputError
from videoscene_cli.terminal.report import Report

CAMERA_SIZE = 0.02  # size of a drawn camera, as a share of the scene's median distance


def check_viewer() -> None:
    """Raise InputError if viser is not installed. To be called before any work."""
    try:
        import viser  # noqa: F401
    except ImportError as error:
        why = "the package viser is missing"
        raise InputError("cannot open the viewer", why, "pip install 'videoscene-cli[view]'") from error


def view(folder: Path, report: Report, wait: Callable[[], None] | None = None) -> None:
    """Serve a reconstructed scene on this machine only, and print the address.

    wait: returns when the viewer shall close.
    """
    import viser

    server = viser.ViserServer(host="127.0.0.1", verbose=False)
    try:
        fill(server, folder)
        report.note(f"the scene is at http://127.0.0.1:{server.get_port()} until you press Ctrl-C")
        with suppress(KeyboardInterrupt):
            (wait or _forever)()
    finally:
        server.stop()


def fill(server: Any, folder: Path) -> None:
    """Show the scene on a viser server, from its first camera."""
    from stages.files.ply import read_ply
    from stages.files.transforms import read_transforms
    from stages.geometry import covariances, quaternions

    g, cameras = read_ply(folder / "gaussians.ply"), read_transforms(folder / "transforms.json")[0]
    colours = g.colours.clamp(0, 1)
    server.scene.set_up_direction("-y")
    server.scene.add_gaussian_splats(
        "/scene",
        centers=g.means.numpy(),
        covariances=covariances(g.quats, g.scales).numpy(),
        rgbs=colours.numpy(),
        opacities=g.opacities[:, None].numpy(),
    )
    h, w = cameras.size
    distance = float((g.means - cameras.c2w[0, :3, 3]).norm(dim=1).median())
    for k, (c2w, K) in enumerate(zip(cameras.c2w, cameras.K, strict=True)):
        fov = 2 * math.atan(h / 2 / float(K[1, 1]))
        server.scene.add_camera_frustum(
            f"/cameras/{k}",
            fov=fov,
            aspect=w / h,
            scale=CAMERA_SIZE * distance,
            wxyz=quaternions(c2w[:3, :3]).numpy(),
            position=c2w[:3, 3].numpy(),
        )
    first = cameras.c2w[0, :3]
    server.initial_camera.position = tuple(first[:, 3].tolist())
    server.initial_camera.look_at = tuple((first[:, 3] + distance * first[:, 2]).tolist())
    server.initial_camera.up = tuple((-first[:, 1]).tolist())


def _forever() -> None:
    while True:
        time.sleep(3600)
