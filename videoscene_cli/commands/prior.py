"""`videoscene prior`: two photographs -> a scene folder with coarse Gaussians and the two cameras."""

from pathlib import Path
from typing import Annotated

import typer

from videoscene_cli.commands.chain import PriorSettings, predict_pair
from videoscene_cli.models.session import Session
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.produce import Result, produce
from videoscene_cli.results.scene_folder import SceneFolder
from videoscene_cli.terminal.options import SIZE, CamerasFile, Shared, Size, with_shared
from videoscene_cli.terminal.report import Report
from videoscene_cli.terminal.work_list import Photos, Work, read_works, run_each

Pair = Annotated[
    list[str], typer.Argument(metavar="A B | -", show_default=False, help="Two photographs, or - for a list on stdin.")
]


@with_shared
def prior(photos: Pair, shared: Shared, report: Report, size: Size = SIZE, cameras: CamerasFile = None) -> None:
    """\b
    Examples:
      videoscene prior left.jpg right.jpg -o scene
      printf 'a.png\\tb.png\\tscene-1\\n' | videoscene prior -

    Predict the 3D Gaussians of the place that two photographs show, and the two cameras, unless --cameras gives them.

    A line of a list is A<TAB>B[<TAB>OUT] or a JSON object {"images": [A, B], "out": OUT}. A result without OUT goes
    into the folder that -o names.
    """
    works, session = read_works(photos, shared.out, "pairs"), Session(shared, report)
    settings = PriorSettings(size, cameras)

    def run(work: Work) -> None:
        make_prior(work.pair, SceneFolder(Path(str(work.out)), session.hashes), settings, session)

    run_each(works, run, report)


def make_prior(
    photos: Photos, scene: SceneFolder, settings: PriorSettings, session: Session, announce: bool = True
) -> None:
    """Make the prior of one pair in a scene folder, unless it is up to date."""
    request = settings.request("prior", photos, session, {}, {})
    scene.check_inputs()
    result = Result.stage(scene.path, "prior", scene.path / "inputs")

    def make(record: Record) -> None:
        scene.save_prior(predict_pair(photos, settings, session, record), request, record)

    produce(session, request, result, make, announce=announce, workload=lambda: settings.workload(photos))
