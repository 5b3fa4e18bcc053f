"""--method NAME[-STEPS][-unposed]: the methods, what decides their results, and how they are loaded."""

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
    from stages.evaluate.method_prior import Matched, Prior
    from stages.reconstruct import Settings
    from stages.scene import Views

# crossfade, nearest: the photographs alone.  plane-sweep: without learning.  render: the prior's render.
# generate: the render, repaired by the student.  enlarged: `generate` in the networks' size, enlarged.
# photographs, refined, reconstruct (Table 4): scenes optimised on the photographs, on photographs and render, on
# photographs and repaired clip.  svd, cogvideox: Stable Video Diffusion and CogVideoX-5B-I2V, if they are installed
# (stages/evaluate/method_video_models.py).
METHODS = (
    "crossfade",
    "nearest",
    "plane-sweep",
    "render",
    "generate",
    "enlarged",
    "photographs",
    "refined",
    "reconstruct",
    "svd",
    "cogvideox",
)
WITH_PRIOR = ("render", "generate", "enlarged", "refined", "reconstruct")
WITH_STUDENT = ("generate", "enlarged", "reconstruct")
OPTIMISED = ("photographs", "refined", "reconstruct")
VIDEO_MODELS = {"svd": 25, "cogvideox": 50}  # method -> its usual number of steps
WITHOUT_CAMERAS = ("crossfade", "nearest", *VIDEO_MODELS)


@dataclass(frozen=True)
class MethodName:
    """A method's name, split up: its base in METHODS, the steps of its sampler, whether its cameras are estimated."""

    base: str
    steps: int | None
    unposed: bool


@dataclass(frozen=True)
class Setup:
    """The options with which methods are loaded. student: --student."""

    shared: Shared
    student: str = "none"

    def session(self) -> Session:
        """A new session, for a new process."""
        return Session(self.shared, self.shared.report())


@dataclass(frozen=True)
class LoadedMethod:
    """A loaded method. student: repairs its clips, if there is one.  model: facts of another video model."""

    method: Method
    student: VideoStudent | None = None
    model: dict[str, Any] | None = None

    def facts(self, leap: int | None) -> dict[str, Any]:
        """What a record holds besides its figures. leap: the leap step of the clip."""
        origin = self.model if self.student is None else self.student.facts(leap)
        return {} if origin is None else {"student": origin}


class Students:
    """The student of --student for each number of steps, each created once."""

    def __init__(self, setup: Setup, session: Session) -> None:
        self._name, self._session, self._students = setup.student, session, dict[int, VideoStudent]()

    def of(self, choice: MethodName) -> VideoStudent:
        """The student for a method. Raises InputError for impossible steps, WeightsError when it is incomplete."""
        steps = choice.steps or 1
        if steps not in self._students:
            self._students[steps] = VideoStudent(self._name, AUTO, self._session, steps)
        return self._students[steps]


def read_method(name: str) -> MethodName:
    """Split NAME[-STEPS][-unposed]. STEPS needs a method with a sampler, -unposed one that uses cameras.

    Raises InputError for any other name.
    """
    match = re.fullmatch(r"(?P<base>[a-z-]+?)(-(?P<steps>\d+))?(?P<unposed>-unposed)?", name)
    usage = f"--method {'|'.join(METHODS)}"
    if match is None or match["base"] not in METHODS:
        raise InputError("bad usage", f"{name!r} is no method", usage)
    choice = MethodName(match["base"], int(match["steps"]) if match["steps"] else None, match["unposed"] is not None)
    if choice.steps is not None and (choice.base not in (*WITH_STUDENT, *VIDEO_MODELS) or choice.steps < 1):
        raise InputError("bad usage", f"{choice.base} has no sampler that takes {choice.steps} steps", usage)
    if choice.unposed and choice.base in WITHOUT_CAMERAS:
        raise InputError("bad usage", f"{choice.base} does not use cameras", "leave -unposed out")
    return choice


def check_method(name: str, setup: Setup) -> None:
    """Raise InputError, before any work, for an unknown method or one that needs a student."""
    choice = read_method(name)
    if choice.base in WITH_STUDENT and setup.student == "none":
        why = f"{choice.base} repairs the render, and no student is given"
        raise InputError("bad usage", why, "add --student NAME|FOLDER, or take render")


def with_unposed(names: Sequence[str]) -> list[str]:
    """The methods, each followed by its version without cameras. Raises InputError when none of them uses cameras."""
    parsed = {name: read_method(name) for name in names}
    if all(parts.base in WITHOUT_CAMERAS for parts in parsed.values()):
        why = f"--unposed changes nothing of {', '.join(names)}"
        raise InputError("bad usage", why, "add a --method that uses cameras, such as render")
    alone = {name: parts.unposed or parts.base in WITHOUT_CAMERAS for name, parts in parsed.items()}
    groups = ([name] if alone[name] else [name, f"{name}-unposed"] for name in names)
    return list(dict.fromkeys(name for group in groups for name in group))


def decides(name: str, session: Session, students: Students) -> tuple[dict[str, Any], dict[str, Mapping[str, str]]]:
    """The options and weights that decide a method's result, besides the case.

    Raises WeightsError when some are missing.
    """
    from dataclasses import asdict

    from stages.evaluate.unposed import PROTOCOL

    choice = read_method(name)
    options: dict[str, Any] = {"cameras": PROTOCOL} if choice.unposed else {}
    weights: dict[str, Mapping[str, str]] = {"prior": session.weights.record()} if choice.base in WITH_PRIOR else {}
    if choice.base in OPTIMISED:
        options["settings"] = asdict(_settings(choice, session.shared.seed))
    if choice.base in VIDEO_MODELS:
        options |= {"steps": choice.steps or VIDEO_MODELS[choice.base], "seed": session.shared.seed}
    if choice.base in WITH_STUDENT:
        student = students.of(choice)
        options |= student.options()
        weights |= student.weights
    return options, weights


@functools.cache
def open_method(choice: MethodName, setup: Setup) -> LoadedMethod:
    """Load a method, once per process. Raises WeightsError, DeviceError."""
    from stages.evaluate import method_baselines, method_plane_sweep, method_video_models
    from stages.evaluate.method_prior import enlarged, render_prior, repair_prior
    from stages.evaluate.method_reconstruction import photographs_only, refined_prior

    session, seed, name = open_session(setup), setup.shared.seed, choice.base
    if name in ("crossfade", "nearest"):
        return LoadedMethod({"crossfade": method_baselines.crossfade, "nearest": method_baselines.nearest}[name])
    if name == "plane-sweep":
        return LoadedMethod(method_plane_sweep.plane_sweep(_ranges(setup)))
    if name == "photographs":
        return LoadedMethod(photographs_only(_settings(choice, seed), _ranges(setup)))
    if name == "render":
        return LoadedMethod(render_prior(_prior(setup)))
    if name == "refined":
        return LoadedMethod(refined_prior(_prior(setup), _settings(choice, seed)))
    if name in VIDEO_MODELS:
        steps = choice.steps or VIDEO_MODELS[name]
        model = method_video_models.load(name, hub_cache(), session.device, steps, seed)
        return LoadedMethod(method_video_models.image_to_video(model), model={"name": name, "steps": steps})
    student = Students(setup, session).of(choice)
    if name in ("generate", "enlarged"):
        method = repair_prior(_prior(setup), student.step, student.frames)
        return LoadedMethod(method if name == "generate" else enlarged(method), student)
    return LoadedMethod(refined_prior(_prior(setup), _settings(choice, seed), student.step), student)


def _settings(choice: MethodName, seed: int) -> Settings:
    """The settings of the optimisation, with as many steps as `reconstruct` would take."""
    from stages.reconstruct import STEPS, STEPS_OF_A_CLIP, STEPS_OF_A_PAIR, Settings

    if choice.base == "photographs":
        return Settings(STEPS, seed=seed)
    return Settings.of_a_cloud(STEPS_OF_A_PAIR if choice.base == "refined" else STEPS_OF_A_CLIP, seed)


@functools.cache
def open_session(setup: Setup) -> Session:
    """The session of this process."""
    return setup.session()


@functools.cache
def _prior(setup: Setup) -> Prior:
    from stages.evaluate.method_prior import open_prior

    return open_prior(open_session(setup).network, _matched(setup))


@functools.cache
def _matched(setup: Setup) -> Matched:
    from stages.evaluate.method_prior import match_photographs

    return match_photographs()


@functools.cache
def _ranges(setup: Setup) -> Callable[[Views], Tensor]:
    return lambda context: _matched(setup)(context)[1]
