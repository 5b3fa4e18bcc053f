"""`videoscene prior`: two photographs -> a scene folder with coarse Gaussians and the two cameras."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stages.files.publish import check_writable
from videoscene_cli.models.session import Session
from videoscene_cli.results import scene_folder
from videoscene_cli.results.dry_run import show_plan
from videoscene_cli.results.manifest import Record, Request, is_current
from videoscene_cli.terminal.options import CamerasFile, Shared, Size, with_shared
from videoscene_cli.terminal.report import Report
from videoscene_cli.terminal.work_list import Photos, read_works, run_each

if TYPE_CHECKING:
    from stages.prior.predict import Prediction
    from stages.scene import Views

Pair = Annotated[list[str], typer.Argument(metavar="A B | -", show_default=False, help="Two photographs, or - for a list on stdin.")]


@dataclass(frozen=True)
class PriorSettings:
    """--size and --cameras."""

    size: int
    cameras: Path | None

    def request(self, command: str, photos: Photos, session: Session, options: dict[str, Any], inputs: dict[str, Path]) -> Request:
        """What `command` is asked to make of two photographs. Raises InputError for a missing file, WeightsError."""
        files = {"first": photos[0], "second": photos[1]} | ({"cameras": self.cameras} if self.cameras else {}) | inputs
        options = {"size": self.size, "seed": session.shared.seed, **options}
        return Request(command, options, files, {"prior": session.weights.record()})


@with_shared
def prior(photos: Pair, shared: Shared, report: Report, size: Size = 256, cameras: CamerasFile = None) -> None:
    """\b
    Examples:
      videoscene prior left.jpg right.jpg -o scene
      printf 'a.png\\tb.png\\tscene-1\\n' | videoscene prior -

    Predict the 3D Gaussians of the place that two photographs show, and the two cameras unless --cameras gives them.

    Each line of a list is A<TAB>B[<TAB>OUT] or a JSON object {"images": [A, B], "out": OUT}; results without OUT go into the folder -o.
    """
    works, session = read_works(photos, shared.out, "pairs"), Session(shared, report)
    run_each(works, lambda work: make_prior(work.pair, Path(str(work.out)), PriorSettings(size, cameras), session), report)


def make_prior(photos: Photos, scene: Path, settings: PriorSettings, session: Session, announce: bool = True) -> None:
    """Make the prior of one pair in a scene folder, unless it is there."""
    manifest = scene / "prior" / "manifest.json"
    request = settings.request("prior", photos, session, {}, {})
    current = is_current(request, manifest, manifest.parent, session.shared.force, touch=not session.shared.dry_run)
    scene_folder.check_inputs_folder(scene)
    if session.shared.dry_run:
        return show_plan(session, request, current, [scene / "inputs", scene / "prior"])
    record = Record()
    if not current:
        check_writable(manifest)
        views, prediction = predict_pair(photos, settings, session, record)
        scene_folder.save_prior(scene, views, prediction, request, record)
    if announce:
        session.report.done(str(scene), current, command="prior", manifest=str(manifest), seconds=record.seconds)


def predict_pair(photos: Photos, settings: PriorSettings, session: Session, record: Record) -> tuple[Views, Prediction]:
    """The stage itself: find the cameras, run the network."""
    with record.stage("start"), session.report.progress("starting"):
        from stages.prior.predict import predict
        from stages.prior.prepare import prepare

        record.device = str(session.device)
    with record.stage("cameras"), session.report.progress("cameras"):
        prepared = prepare(photos, settings.size, settings.cameras)
    record.facts["geometry"] = prepared.facts
    with record.stage("prior"), session.report.progress("prior"):
        prediction = predict(prepared.views, prepared.near_far, session.network)
    record.facts["swept"] = prediction.near_far.tolist()
    return replace(prepared.views, depth=prediction.depth), prediction
