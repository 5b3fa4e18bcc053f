"""--method: which methods there are, what decides their results, and how they are opened."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stages.errors import InputError
from videoscene_cli.artifact import Record
from videoscene_cli.engine import Engine
from videoscene_cli.options import Shared
from videoscene_cli.student import VideoStudent

if TYPE_CHECKING:
    from stages.evaluate.baselines import Method
    from stages.generate import Student
    from stages.reconstruct import Settings
    from stages.scene import Clip, Views

# crossfade, nearest: of the photographs.  plane-sweep: without learning.  render: of the prior.  generate: the render, repaired by the
# student.  Table 4: scenes optimised on the photographs alone, on them and the render, on them and the student's clip.
METHODS = ("crossfade", "nearest", "plane-sweep", "render", "generate", "photographs", "refined", "reconstruct")
WITH_PRIOR = ("render", "generate", "refined", "reconstruct")
WITH_STUDENT = ("generate", "reconstruct")
OPTIMISED = ("photographs", "refined", "reconstruct")
WITHOUT_CAMERAS = ("crossfade", "nearest")
UNPOSED = "-unposed"  # ends the name of a method that works from estimated cameras


@dataclass(frozen=True)
class Setup:
    """What the methods of a run are opened with. student, leap: --student and --leap."""

    shared: Shared
    student: str = "none"
    leap: int = 459

    def engine(self) -> Engine:
        """An engine of its own, for a process of its own."""
        return Engine(self.shared, self.shared.report())


@dataclass(frozen=True)
class Opened:
    """A method, ready to run. facts: what the student said of the clip that was made last."""

    method: Method
    facts: dict[str, Any] = field(default_factory=dict)


def check_method(name: str, setup: Setup) -> None:
    """Raises InputError, before any work, for a method that there is not or that needs a student."""
    if name not in METHODS:
        raise InputError("bad usage", f"{name!r} is no method", f"--method {'|'.join(METHODS)}")
    if name in WITH_STUDENT and setup.student == "none":
        raise InputError("bad usage", f"{name} repairs the render, and no student is given", "add --student NAME|FOLDER, or take render")


def with_unposed(names: Sequence[str]) -> list[str]:
    """Methods, each followed by the same without cameras. Raises InputError when none of them looks at cameras."""
    if all(name in WITHOUT_CAMERAS for name in names):
        raise InputError(
            "bad usage", f"--unposed changes nothing of {', '.join(names)}", "add a --method that uses cameras, such as render"
        )
    return [each for name in names for each in ((name,) if name in WITHOUT_CAMERAS else (name, name + UNPOSED))]


def decides(name: str, engine: Engine, student: VideoStudent) -> tuple[dict[str, Any], dict[str, Mapping[str, str]]]:
    """Options and weights that decide what a method makes, beside the case. Raises WeightsError when some are missing."""
    from dataclasses import asdict

    from stages.evaluate.unposed import PROTOCOL

    options: dict[str, Any] = {"cameras": PROTOCOL} if name.endswith(UNPOSED) else {}
    name = name.removesuffix(UNPOSED)
    options |= student.options() if name in WITH_STUDENT else {}
    if name in OPTIMISED:
        options["settings"] = asdict(_settings(engine.shared.seed))
    weights: dict[str, Mapping[str, str]] = {"prior": engine.weights.record()} if name in WITH_PRIOR else {}
    return options, weights | (student.weights if name in WITH_STUDENT else {})


@functools.cache
def open_method(name: str, setup: Setup) -> Opened:
    """Load what a method (a name of METHODS) needs, once in a process. Raises WeightsError, DeviceError."""
    from stages.evaluate import baselines, plane_sweep
    from stages.evaluate.prior import render_prior, repair_prior
    from stages.evaluate.reconstruction import photographs_only, refined_prior
    from stages.prior.pose import near_far_from_cameras

    engine, seed = _engine(setup), setup.shared.seed
    if name in ("crossfade", "nearest"):
        return Opened({"crossfade": baselines.crossfade, "nearest": baselines.nearest}[name])
    if name == "plane-sweep":
        return Opened(plane_sweep.plane_sweep(lambda views: near_far_from_cameras(list(views.images), views.cameras)))
    if name == "photographs":
        return Opened(photographs_only(_settings(seed)))
    if name == "render":
        return Opened(render_prior(engine.network))
    if name == "refined":
        return Opened(refined_prior(engine.network, _settings(seed)))
    step, facts = _student(setup)
    if name == "generate":
        return Opened(repair_prior(engine.network, step), facts)
    return Opened(refined_prior(engine.network, _settings(seed), step), facts)


def _settings(seed: int) -> Settings:
    from stages.reconstruct import Settings

    return Settings(seed=seed)


@functools.cache
def _engine(setup: Setup) -> Engine:
    return setup.engine()


@functools.cache
def _student(setup: Setup) -> tuple[Student, dict[str, Any]]:
    """--student as a function of clips, and where it leaves its facts."""
    video, facts = VideoStudent(setup.student, setup.leap, _engine(setup)), dict[str, Any]()

    def step(clip: Clip, views: Views) -> Clip:
        record = Record()
        repaired = video.repair(clip, views, record)
        facts.clear()
        facts.update(record.facts)
        return repaired

    return step, facts
