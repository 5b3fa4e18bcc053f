"""--method NAME[-STEPS][-unposed]: which methods there are, what decides their results, and how they are opened."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.errors import InputError
from videoscene_cli.models.session import Session
from videoscene_cli.models.video_student import AUTO, VideoStudent
from videoscene_cli.models.weights_file import hub_cache
from videoscene_cli.terminal.options import Shared

if TYPE_CHECKING:
    from torch import Tensor

    from stages.evaluate.method_baselines import Method
    from stages.evaluate.method_prior import Prior
    from stages.reconstruct import Settings
    from stages.scene import Views

# crossfade, nearest: of the photographs.  plane-sweep: without learning.  render: of the prior.  generate: the render, repaired by the
# student.  Table 4: scenes optimised on the photographs alone, on them and the render, on them and the student's clip.
# svd, cogvideox: Stable Video Diffusion and CogVideoX-5B-I2V, for those who have them (stages/evaluate/method_video_models.py).
METHODS = ("crossfade", "nearest", "plane-sweep", "render", "generate", "photographs", "refined", "reconstruct", "svd", "cogvideox")
WITH_PRIOR = ("render", "generate", "refined", "reconstruct")
WITH_STUDENT = ("generate", "reconstruct")
OPTIMISED = ("photographs", "refined", "reconstruct")
VIDEO_MODELS = {"svd": 25, "cogvideox": 50}  # with the steps that each takes by default
WITHOUT_CAMERAS = ("crossfade", "nearest", *VIDEO_MODELS)


@dataclass(frozen=True)
class Asked:
    """A method as it was asked for: its name in METHODS, the steps of its sampler, whether its cameras are estimated."""

    base: str
    steps: int | None
    unposed: bool


@dataclass(frozen=True)
class Setup:
    """What the methods of a run are opened with. student: --student."""

    shared: Shared
    student: str = "none"

    def session(self) -> Session:
        """A session of its own, for a process of its own."""
        return Session(self.shared, self.shared.report())


@dataclass(frozen=True)
class Opened:
    """A method, ready to run. student: what repairs its clips, if anything does.  model: what a record says of a video model of others."""

    method: Method
    student: VideoStudent | None = None
    model: dict[str, Any] | None = None

    def facts(self, leap: int | None) -> dict[str, Any]:
        """What a record holds beside its figures. leap: the noise step that the clip was repaired from."""
        made_by = self.model if self.student is None else self.student.facts(leap)
        return {} if made_by is None else {"student": made_by}


class Students:
    """--student with any number of steps, each made once."""

    def __init__(self, setup: Setup, session: Session) -> None:
        self._name, self._session, self._made = setup.student, session, dict[int, VideoStudent]()

    def of(self, asked: Asked) -> VideoStudent:
        """Raises InputError for steps that it cannot take, WeightsError when it is incomplete."""
        steps = asked.steps or 1
        if steps not in self._made:
            self._made[steps] = VideoStudent(self._name, AUTO, self._session, steps)
        return self._made[steps]


def read_method(name: str) -> Asked:
    """NAME, NAME-STEPS where it has a sampler, each with -unposed behind it where it looks at cameras. Raises InputError."""
    match = re.fullmatch(r"(?P<base>[a-z-]+?)(-(?P<steps>\d+))?(?P<unposed>-unposed)?", name)
    usage = f"--method {'|'.join(METHODS)}"
    if match is None or match["base"] not in METHODS:
        raise InputError("bad usage", f"{name!r} is no method", usage)
    asked = Asked(match["base"], int(match["steps"]) if match["steps"] else None, match["unposed"] is not None)
    if asked.steps is not None and (asked.base not in (*WITH_STUDENT, *VIDEO_MODELS) or asked.steps < 1):
        raise InputError("bad usage", f"{asked.base} has no sampler that takes {asked.steps} steps", usage)
    if asked.unposed and asked.base in WITHOUT_CAMERAS:
        raise InputError("bad usage", f"{asked.base} does not look at cameras", "leave -unposed out")
    return asked


def check_method(name: str, setup: Setup) -> None:
    """Raises InputError, before any work, for a method that there is not or that needs a student."""
    asked = read_method(name)
    if asked.base in WITH_STUDENT and setup.student == "none":
        raise InputError(
            "bad usage", f"{asked.base} repairs the render, and no student is given", "add --student NAME|FOLDER, or take render"
        )


def with_unposed(names: Sequence[str]) -> list[str]:
    """Methods, each followed by the same without cameras. Raises InputError when none of them looks at cameras."""
    asked = {name: read_method(name) for name in names}
    if all(each.base in WITHOUT_CAMERAS for each in asked.values()):
        raise InputError(
            "bad usage", f"--unposed changes nothing of {', '.join(names)}", "add a --method that uses cameras, such as render"
        )
    plain = {name: each.unposed or each.base in WITHOUT_CAMERAS for name, each in asked.items()}
    return list(dict.fromkeys(other for name in names for other in ([name] if plain[name] else [name, f"{name}-unposed"])))


def decides(name: str, session: Session, students: Students) -> tuple[dict[str, Any], dict[str, Mapping[str, str]]]:
    """Options and weights that decide what a method makes, beside the case. Raises WeightsError when some are missing."""
    from dataclasses import asdict

    from stages.evaluate.unposed import PROTOCOL

    asked = read_method(name)
    options: dict[str, Any] = {"cameras": PROTOCOL} if asked.unposed else {}
    weights: dict[str, Mapping[str, str]] = {"prior": session.weights.record()} if asked.base in WITH_PRIOR else {}
    if asked.base in OPTIMISED:
        options["settings"] = asdict(_settings(asked, session.shared.seed))
    if asked.base in VIDEO_MODELS:
        options |= {"steps": asked.steps or VIDEO_MODELS[asked.base], "seed": session.shared.seed}
    if asked.base in WITH_STUDENT:
        student = students.of(asked)
        options |= student.options()
        weights |= student.weights
    return options, weights


@functools.cache
def open_method(asked: Asked, setup: Setup) -> Opened:
    """Load what a method needs, once in a process. Raises WeightsError, DeviceError."""
    from stages.evaluate import method_baselines, method_plane_sweep, method_video_models
    from stages.evaluate.method_prior import render_prior, repair_prior
    from stages.evaluate.method_reconstruction import photographs_only, refined_prior

    session, seed, name = _session(setup), setup.shared.seed, asked.base
    if name in ("crossfade", "nearest"):
        return Opened({"crossfade": method_baselines.crossfade, "nearest": method_baselines.nearest}[name])
    if name == "plane-sweep":
        return Opened(method_plane_sweep.plane_sweep(_ranges(setup)))
    if name == "photographs":
        return Opened(photographs_only(_settings(asked, seed), _ranges(setup)))
    if name == "render":
        return Opened(render_prior(_prior(setup)))
    if name == "refined":
        return Opened(refined_prior(_prior(setup), _settings(asked, seed)))
    if name in VIDEO_MODELS:
        steps = asked.steps or VIDEO_MODELS[name]
        model = method_video_models.load(name, hub_cache(), session.device, steps, seed)
        return Opened(method_video_models.image_to_video(model), model={"name": name, "steps": steps})
    student = Students(setup, session).of(asked)
    if name == "generate":
        return Opened(repair_prior(_prior(setup), student.step, student.frames), student)
    return Opened(refined_prior(_prior(setup), _settings(asked, seed), student.step), student)


def _settings(asked: Asked, seed: int) -> Settings:
    """How long `reconstruct` would optimise what the method gives it."""
    from stages.reconstruct import STEPS, STEPS_OF_A_CLIP, STEPS_OF_A_PAIR, Settings

    steps = {"photographs": STEPS, "refined": STEPS_OF_A_PAIR, "reconstruct": STEPS_OF_A_CLIP}
    return Settings(steps[asked.base], seed=seed)


@functools.cache
def _session(setup: Setup) -> Session:
    return setup.session()


@functools.cache
def _prior(setup: Setup) -> Prior:
    from stages.evaluate.method_prior import open_prior

    return open_prior(_session(setup).network, _ranges(setup))


@functools.cache
def _ranges(setup: Setup) -> Callable[[Views], Tensor]:
    from stages.evaluate.method_prior import depth_ranges

    return depth_ranges()
