"""`videoscene reconstruct`: a finished clip and its cameras -> a refined Gaussian scene, with exports."""

from pathlib import Path
from typing import Annotated

import typer

from videoscene_cli.models.session import Session
from videoscene_cli.reconstruction import viewer
from videoscene_cli.reconstruction.inputs import SOURCES, default_gaussians, default_steps, find_source, is_finished
from videoscene_cli.reconstruction.optimisation import Refinement, refine
from videoscene_cli.reconstruction.outputs import check_formats, save_reconstruction
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.produce import Result, produce
from videoscene_cli.results.scene_folder import SceneFolder
from videoscene_cli.terminal.options import CamerasFile, Shared, check_count, with_shared
from videoscene_cli.terminal.report import Report
from videoscene_cli.terminal.work_list import Work, read_works, require_something_at, run_each

Scene = Annotated[
    str,
    typer.Argument(
        metavar="SCENE | FOLDER | VIDEO | -", show_default=False, help="A finished scene, or frames; - for a list."
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        callback=check_count,
        show_default="48 for a scene, 12 if no student repaired it, 600 for photographs",
        help="Number of optimisation steps.",
    ),
]
Count = Annotated[
    int | None,
    typer.Option(
        "--gaussians",
        metavar="N",
        min=100,
        callback=check_count,
        show_default="1500000 for a scene, 300000 for photographs",
        help="Largest number of Gaussians.",
    ),
]
RefinePoses = Annotated[
    bool,
    typer.Option("--refine-poses", help="Also optimise the cameras of generated frames. Those of photographs stay."),
]
Exports = Annotated[
    list[str] | None,
    typer.Option(
        "--export", metavar="splat|compressed-ply|sh3-ply|html", help="Also write this viewer format; repeatable."
    ),
]
View = Annotated[
    bool, typer.Option("--view", help="Then show the scene in a browser, until Ctrl-C (needs the package viser).")
]


def _check_size(size: int) -> int:
    if size % 16:
        raise typer.BadParameter(f"{size} is not a multiple of 16, such as 256, 384, 480")
    return size


PhotographSize = Annotated[
    int,
    typer.Option(
        "--size", metavar="PX", min=64, callback=_check_size, help="Short side of photographs, a multiple of 16."
    ),
]


@with_shared
def reconstruct(
    scene: Scene,
    shared: Shared,
    report: Report,
    steps: Steps = None,
    gaussians: Count = None,
    refine_poses: RefinePoses = False,
    export: Exports = None,
    cameras: CamerasFile = None,
    size: PhotographSize = 256,
    view: View = False,
) -> None:
    """\b
    Examples:
      videoscene generate left.jpg right.jpg -o scene && videoscene reconstruct scene
      videoscene reconstruct walk.mp4 --cameras transforms.json -o scene

    Refine the Gaussians of a scene on its photographs and its clip, and export them: PLY, COLMAP, transforms.json,
    videos.

    A scene of this program must be finished (`generate`). Or give photographs: a folder with transforms.json or with a
    COLMAP model (images/, sparse/0), a video with --cameras, or a folder of images, whose cameras are then estimated.
    --size is for photographs. The result goes into SCENE/reconstruct. A stopped run continues.
    """
    check_formats(export or [])
    if view:
        viewer.check_viewer()
    works, session = read_works([scene], shared.out, "scenes"), Session(shared, report)
    exports = tuple(sorted(set(export or [])))

    def run(work: Work) -> None:
        require_something_at(work.scene, SOURCES)
        count = default_steps(work.scene, session.hashes) if steps is None else steps
        most = default_gaussians(work.scene) if gaussians is None else gaussians
        settings = Refinement(count, most, not is_finished(work.scene), refine_poses, exports)
        _run(work, settings, cameras, size, session)

    run_each(works, run, report)
    if view and not shared.dry_run:
        for work in works:
            viewer.view(_target(work) / "reconstruct", report)


def _run(work: Work, settings: Refinement, cameras: Path | None, size: int, session: Session) -> None:
    source = find_source(work.scene, cameras, size, settings.options(session.shared.seed), session)
    scene, target = SceneFolder(work.scene, session.hashes), SceneFolder(_target(work), session.hashes)
    result = Result.stage(target.path, "reconstruct")

    def make(record: Record) -> None:
        checkpoint = target.path / ".reconstruct.checkpoint"
        inputs, refined = refine(source, settings, checkpoint, session, record)
        scene.copy_stages(target, source.copied)
        save_reconstruction(result.manifest.parent, refined, inputs, settings.exports, source.request, record)
        checkpoint.unlink(missing_ok=True)

    produce(
        session, source.request, result, make, check=lambda: scene.check_copies(target, source.copied),
        workload=source.workload,
    )  # fmt: skip


def _target(work: Work) -> Path:
    """The scene folder of the result."""
    return Path(work.out or (work.scene if work.scene.is_dir() else work.scene.with_suffix("")))
