"""`generate` under the protocol: the clip that the student repairs passes the target cameras."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stages import pipeline
from stages.errors import InputError
from stages.evaluate import method_prior
from stages.evaluate.cases import Task, load_task, read_cases
from stages.evaluate.method_plane_sweep import to_gaussians
from stages.evaluate.method_prior import clip_through, open_prior, paste, render_prior, repair_prior
from stages.evaluate.protocol import make
from stages.prior.predict import Prediction
from stages.scene import Cameras, Clip, Views
from stages.video.full_size import Student
from videoscene_cli import app
from videoscene_cli.evaluation import methods
from videoscene_cli.models.video_student import VideoStudent
from videoscene_cli.terminal.options import Shared

NEAR_FAR = torch.tensor([[2.0, 5.0], [2.0, 5.0]])


@pytest.fixture
def task(wall: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Task:
    """The wall; the prior is the plane sweep."""
    monkeypatch.setattr(method_prior, "match_views", lambda views: (views, NEAR_FAR))
    monkeypatch.setattr(
        pipeline,
        "predict",
        lambda views, near_far, network: Prediction(
            to_gaussians(Views(views.images, views.cameras.to(torch.float32)), NEAR_FAR),
            torch.ones(2, *views.cameras.size),
            near_far,
        ),
    )
    return load_task(read_cases(wall())[1])


def darker(clip: Clip, views: Views) -> Clip:
    """A student that takes 9 frames and repairs their middle."""
    assert len(clip.cameras) == 9
    h, w = clip.cameras.size
    K = clip.cameras.K.clone()
    K[:, 0, 2] -= 8
    return Clip(
        clip.frames[..., 8 : w - 8] * 0.5, Cameras(clip.cameras.c2w, K, (h, w - 16)), clip.coverage[..., 8 : w - 8]
    )


def test_the_students_frames_are_shown_at_the_targets(task: Task) -> None:
    render = make(task, render_prior(open_prior(None, lambda context: (context, NEAR_FAR))))  # type: ignore[arg-type]
    made = make(
        task, repair_prior(open_prior(None, lambda context: (context, NEAR_FAR)), Student(darker, 256), frames=9)
    )  # type: ignore[arg-type]
    assert made.frames.shape == render.frames.shape
    torch.testing.assert_close(made.frames[..., 8:-8], render.frames[..., 8:-8] * 0.5, atol=0.02, rtol=0)
    # Frames are rounded to 8 bits, so the smallest difference before can be a whole level after.
    torch.testing.assert_close(made.frames[..., :8], render.frames[..., :8], atol=1.01 / 255, rtol=0)
    torch.testing.assert_close(made.coverage, render.coverage)


def test_a_clip_passes_the_targets_in_order(task: Task) -> None:
    cameras, times = task.cameras[[2, 0, 1, 0]], torch.tensor([0.97, 0.9, 0.92, 0.9])
    path, shown = clip_through(task.context.cameras, cameras, times, 9)
    assert len(path) == 9
    assert shown == [7, 5, 6, 5]
    assert torch.equal(path.c2w[shown], cameras.c2w)
    assert torch.equal(path.c2w[[0, 8]], task.context.cameras.c2w)
    assert bool((path.c2w[1:5, 0, 3].diff() > 0).all())


@pytest.mark.parametrize(("times", "told"), [([-0.1, 0.5, 0.6], "beyond"), ([0.2, 0.3, 0.4], "3 targets")])
def test_targets_that_no_clip_passes(task: Task, times: list[float], told: str) -> None:
    with pytest.raises(InputError, match=told):
        clip_through(task.context.cameras, task.cameras, torch.tensor(times), 4)


def test_a_student_that_keeps_the_size_is_taken_whole(task: Task) -> None:
    clip = Clip(task.truth, task.cameras)
    assert torch.equal(paste(Clip(task.truth * 0.5, task.cameras), clip), task.truth * 0.5)


def test_the_command_asks_for_a_student_and_records_what_it_says(
    wall: Callable[..., Path],
    task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["evaluate", "--two-view", str(wall("b")), "--method", "generate", "--json", "-o", str(tmp_path / "out")]
    assert app.run([*command, "--student", "none"]) == 2
    assert "--student" in capsys.readouterr().err

    class Fake(VideoStudent):
        weights = {"student": {"name": "fake", "file": "x", "sha256": "0" * 64}}
        frames = None

        def __init__(self, name: str, leap: str, session: Any, steps: int) -> None:
            self.name, self.session, self.steps = name, session, steps

        def options(self) -> dict[str, Any]:
            return {"steps": self.steps}

        @property
        def step(self) -> Student:  # type: ignore[override]
            return Student(lambda clip, views: replace(clip, leap=459), 256)

        def facts(self, leap: int | None) -> dict[str, Any]:
            return {"name": self.name, "t": leap, "steps": self.steps}

    def loaded(*arguments: Any) -> None:
        return None

    monkeypatch.setattr("stages.prior.load.load_prior", loaded)
    monkeypatch.setattr("videoscene_cli.evaluation.methods.VideoStudent", Fake)
    assert app.run([*command, "--student", "fake", "--method", "render", "--method", "generate-4"]) == 0

    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    records = [record for record in records if "case" in record and record["kind"] == "wide"]
    assert [record["method"] for record in records] == ["generate", "render", "generate-4"]
    assert records[0]["student"] == {"name": "fake", "t": 459, "steps": 1}
    assert records[2]["student"]["steps"] == 4
    assert records[0]["mean"]["psnr"] == pytest.approx(records[1]["mean"]["psnr"], abs=0.05)
    assert "student" not in records[1]


def test_what_decides_a_methods_frames() -> None:
    setup = methods.Setup(Shared(seed=3))
    session = setup.session()
    students = methods.Students(setup, session)
    assert methods.decides("crossfade", session, students) == ({}, {})
    options, weights = methods.decides("refined", session, students)
    assert options["settings"]["seed"] == 3
    assert list(weights) == ["prior"]
    assert methods.decides("svd-4", session, students)[0] == {"steps": 4, "seed": 3}
    assert "cameras" in methods.decides("render-unposed", session, students)[0]


def test_names_of_methods() -> None:
    assert methods.read_method("plane-sweep-unposed") == methods.MethodName("plane-sweep", None, True)
    assert methods.read_method("generate-50-unposed") == methods.MethodName("generate", 50, True)
    assert methods.read_method("cogvideox-1") == methods.MethodName("cogvideox", 1, False)
    for name in ("render-4", "crossfade-unposed", "generate-0", "magic", "svd-x"):
        with pytest.raises(InputError):
            methods.read_method(name)
    assert methods.with_unposed(["crossfade", "render", "render-unposed"]) == ["crossfade", "render", "render-unposed"]


def test_the_methods_of_a_case_share_the_priors_prediction(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    predicted = []
    once = pipeline.predict
    monkeypatch.setattr(pipeline, "predict", lambda *given: predicted.append(1) or once(*given))
    predictions = open_prior(None, lambda context: (context, NEAR_FAR))  # type: ignore[arg-type]
    make(task, render_prior(predictions))
    make(task, repair_prior(predictions, Student(darker, 256), frames=9))
    assert len(predicted) == 1
    make(replace(task, context=replace(task.context)), render_prior(predictions))
    assert len(predicted) == 2


def test_a_clip_has_no_more_frames_than_it_takes(task: Task) -> None:
    lengths = []

    def noted(clip: Clip, views: Views) -> Clip:
        lengths.append(len(clip.cameras))
        return clip

    method = repair_prior(open_prior(None, lambda context: (context, NEAR_FAR)), Student(noted, 256))  # type: ignore[arg-type]
    for count in (3, 20):
        cameras = task.cameras[[k % 3 for k in range(count)]]
        method(task.context, cameras, torch.linspace(0.01, 0.99, count))
    assert lengths == [13, 25]
