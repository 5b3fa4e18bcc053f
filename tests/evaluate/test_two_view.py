"""The protocol: what is measured, what is recorded, how means are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.errors import RunError
from stages.evaluate.baselines import crossfade
from stages.evaluate.cases import load_task, read_cases
from stages.evaluate.two_view import measure, summarise
from stages.metrics.image import as_stored, psnr
from stages.scene import Cameras, Views


def test_a_record(wall: Callable[..., Path]) -> None:
    case = read_cases(wall())[1]
    record = measure(case, crossfade).record()
    task = load_task(case)
    expected = psnr(as_stored(crossfade(task.context, task.cameras, task.times)), task.truth)
    assert record["frames"]["psnr"] == pytest.approx(expected.tolist(), abs=1e-9)
    assert record["mean"]["psnr"] == pytest.approx(float(expected.mean()), abs=1e-9)
    assert 0 < record["mean"]["ssim"] < 1
    assert record["context psnr"] == [None, None], "a crossfade shows the photographs themselves"
    assert (record["case"], record["kind"], record["target"]) == ("wall-0000-0004", "wide", [1, 2, 3])


def test_context_frames_come_from_the_method(wall: Callable[..., Path]) -> None:
    def shaded(context: Views, cameras: Cameras, times: Tensor) -> Tensor:
        assert times.tolist() == [0.0, 1.0, 0.25, 0.5, 0.75]
        assert torch.equal(cameras.c2w[:2], context.cameras.c2w)
        return (crossfade(context, cameras, times) * 0.5).clamp(0, 1)

    result = measure(read_cases(wall())[1], shaded)
    assert all(3 < value < 15 for value in result.context_psnr)


def test_disk_and_memory_agree(wall: Callable[..., Path], tmp_path: Path) -> None:
    from stages.files.clip import read_clip, write_clip

    result = measure(read_cases(wall())[1], crossfade)
    write_clip(tmp_path / "kept", result.clip)
    again = psnr(read_clip(tmp_path / "kept").frames, load_task(result.case).truth)
    assert again.tolist() == pytest.approx(result.figures["psnr"], abs=1e-9)


@pytest.mark.parametrize(("spoil", "why"), [(lambda x: x[1:], "frames for"), (lambda x: x / 0 * 0, "NaN")])
def test_a_broken_method(wall: Callable[..., Path], spoil: Callable[[Tensor], Tensor], why: str) -> None:
    with pytest.raises(RunError, match=why):
        measure(read_cases(wall())[0], lambda *task: spoil(crossfade(*task)))


def record_of(kind: str, figure: float, context: list[float | None]) -> dict[str, object]:
    return {"kind": kind, "mean": {"psnr": figure}, "context psnr": context, "seconds": 1.0}


def test_means_are_over_cases() -> None:
    summary = summarise([record_of("wide", 10, [30, 20]), record_of("wide", 20, [26, 28]), record_of("medium", 5, [None, 20])])
    assert summary["wide"] == {"cases": 2, "mean": {"psnr": 15}, "context psnr": {"mean": 26, "worst": 20}, "seconds": 1.0}
    assert summary["medium"]["context psnr"] == {"mean": None, "worst": 20}
