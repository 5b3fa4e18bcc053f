"""The videoscene program with a prior that needs no weights: flat Gaussians two units away, cameras a small step apart.

Everything else is real. Run as a program, it hangs in the stage that $HANG_IN names, for tests that kill it there.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock


def fake_prior() -> dict[str, Callable[..., Any]]:
    """Functions to put in the place of those of these names."""
    import torch

    from stages.files.images import as_in_png, read_image
    from stages.geometry import unproject
    from stages.scene import Cameras, Gaussians, Views, colours_to_sh
    from stages.sizes import resized_images, result_size, with_small_images

    @dataclass
    class Result:
        views: Any = None
        near_far: Any = None
        facts: Any = None
        gaussians: Any = None
        depth: Any = None

    def prepare(
        paths: tuple[Path, Path], short_side: int | None, cameras_file: Path | None, device: torch.device
    ) -> Result:
        hang("cameras")
        photographs = [read_image(path)[None] for path in paths]
        h, w = result_size((photographs[0].shape[-2], photographs[0].shape[-1]), short_side)
        images = as_in_png(torch.cat([resized_images(photograph, (h, w)) for photograph in photographs]))
        c2w = torch.eye(4).repeat(2, 1, 1)
        c2w[1, 0, 3] = 0.2
        K = torch.tensor([[w, 0, w / 2], [0, w, h / 2], [0, 0, 1.0]]).repeat(2, 1, 1)
        views = with_small_images(Views(images, Cameras(c2w, K, (h, w))))
        return Result(
            views=replace(views, points=torch.tensor([[0.0, 0.0, 3.0]])).to(device),
            near_far=torch.tensor([[1.0, 10.0]] * 2),
            facts={"cameras": "fake"},
        )

    def predict(views: Views, near_far: Any, network: Any) -> Result:
        hang("prior")
        depth = torch.full((2, *views.cameras.size), 2.0)
        means = unproject(depth, views.cameras.K.float(), views.cameras.c2w.float())[0].reshape(-1, 3)
        sh = colours_to_sh(views.images[0].cpu().flatten(1).T)
        quats = torch.tensor([1.0, 0, 0, 0]).expand(len(means), 4)
        scales, first = torch.full_like(means, 2.0 / views.cameras.size[1]), torch.zeros(len(means), dtype=torch.uint8)
        gaussians = Gaussians(means, scales, quats, torch.full((len(means),), 0.9), sh, first)
        return Result(
            gaussians=gaussians.to(views.images.device),
            depth=depth.to(views.images.device),
            near_far=torch.tensor([[1.0, 10.0]] * 2),
        )

    return {
        "stages.pipeline.prepare": prepare,
        "stages.pipeline.predict": predict,
        "stages.prior.load.load_prior": lambda path, device: None,
    }


def replace_prior() -> None:
    """Put the functions of `fake_prior` in their places, to the end of the process."""
    for name, function in fake_prior().items():
        mock.patch(name, function).start()


def hang(stage: str) -> None:
    if os.environ.get("HANG_IN") == stage:
        sys.stderr.write(f"hanging in {stage}\n")
        sys.stderr.flush()
        time.sleep(60)


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background
    from videoscene_cli import app

    if "--help" not in sys.argv:
        from stages import pipeline
        from stages.files import clip_folder, ply, video

        replace_prior()

        def hanging(stage: str, function: Any) -> Any:
            return lambda *arguments, **options: (hang(stage), function(*arguments, **options))[1]

        pipeline.render_parts = hanging("render", pipeline.render_parts)
        ply.write_ply = hanging("ply", ply.write_ply)
        clip_folder.write_mp4 = video.write_mp4 = hanging("video", video.write_mp4)
    app.main()


if __name__ == "__main__":
    main()
