"""The protocol: what is measured, what is recorded, how means are taken."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.errors import InputError, RunError
from stages.evaluate.case_record import CaseRecord, read_record
from stages.evaluate.cases import load_task, read_cases
from stages.evaluate.frame_metrics import Instruments, open_instruments
from stages.evaluate.method_baselines import crossfade, nearest
from stages.evaluate.protocol import FVD_FRAMES, compare, make
from stages.evaluate.summary import summarise
from stages.files.images import as_in_png
from stages.files.publish import write_json
from stages.metrics.image import psnr
from stages.scene import Cameras, Clip, Views
from tests.evaluate.records import record

CPU = torch.device("cpu")

Wall = Callable[..., Path]


class Probe:
    """Stands for I3D: its logits are the mean of each frame."""

    def logits(self, clip: Tensor) -> Tensor:
        return clip.mean((1, 2, 3))


def test_records(wall: Wall, tmp_path: Path) -> None:
    case = read_cases(wall())[1]
    task = load_task(case)
    results = {"crossfade": make(task, crossfade), "nearest": make(task, nearest)}
    records = compare(case, task, results, open_instruments(tmp_path / "no networks", CPU))
    assert list(records) == ["crossfade", "nearest"]
    for name, method in (("crossfade", crossfade), ("nearest", nearest)):
        expected = psnr(as_in_png(method(task.context, task.cameras, task.times).frames), task.truth)
        measured = records[name]
        assert measured.frames["psnr"] == pytest.approx(expected.tolist(), abs=1e-9)
        assert measured.mean["psnr"] == pytest.approx(float(expected.mean()), abs=1e-9)
        assert 0 < measured.mean["ssim"] < 1
        assert measured.mean["lpips vgg"] == measured.frames["lpips alex"] == "n/a"
        assert measured.i3d is None
        assert measured.context_psnr == [None, None], "both baselines show the photographs themselves"
        assert (measured.case, measured.kind, measured.target) == ("wall-0000-0004", "wide", (1, 2, 3))


def test_context_frames_come_from_the_method(wall: Wall, tmp_path: Path) -> None:
    def shaded(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        assert times.tolist() == [0.0, 1.0, 0.25, 0.5, 0.75]
        assert torch.equal(cameras.c2w[:2], context.cameras.c2w)
        return Clip(crossfade(context, cameras, times).frames * 0.5, cameras)

    case = read_cases(wall())[1]
    task = load_task(case)
    measured = compare(case, task, {"shaded": make(task, shaded)}, open_instruments(tmp_path, CPU))["shaded"]
    assert all(3 < value < 15 for value in measured.context_psnr)


def test_features_are_of_evenly_spaced_frames_in_order(wall: Wall) -> None:
    case = read_cases(wall(count=15, pairs=[{"kind": "long", "context": [14, 0], "target": [13, *range(1, 13)]}]))[0]
    task = load_task(case)
    instruments = Instruments({}, i3d=Probe())  # type: ignore[arg-type]
    measured = compare(case, task, {"nearest": make(task, nearest)}, instruments)["nearest"]
    means = {14: task.context.images[0], 0: task.context.images[1]} | dict(zip(case.targets, task.truth, strict=True))
    picked = [14, 13, 11, 10, 8, 7, 6, 4, 3, 1, 0]
    assert len(picked) == FVD_FRAMES
    expected = [float((2 * means[i][:, :, 8:56] - 1).mean()) for i in picked]
    assert measured.i3d["truth"] == pytest.approx(expected, abs=0.02)
    assert len(set(measured.i3d["made"])) == 2, "the two photographs"


def test_disk_and_memory_agree(wall: Wall, tmp_path: Path) -> None:
    from stages.files.clip_folder import read_clip, write_clip
    from stages.files.stored_clip import StoredClip

    task = load_task(read_cases(wall())[1])
    frames = make(task, crossfade).frames[2:]
    write_clip(tmp_path / "kept", StoredClip.of(Clip(frames, task.cameras)))
    torch.testing.assert_close(
        psnr(read_clip(tmp_path / "kept").clip().frames, task.truth), psnr(frames, task.truth), atol=1e-9, rtol=0
    )


def test_seen_and_invented_pixels_apart(wall: Wall, tmp_path: Path) -> None:
    case = read_cases(wall())[1]
    task = load_task(case)

    def half(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        frames = torch.cat([context.images, task.truth])
        frames[:, :, :, 32:] = 0.5
        coverage = torch.ones(5, 48, 64)
        coverage[:, :, 32:] = 0.1
        return Clip(frames, cameras, coverage)

    measured = compare(case, task, {"half": make(task, half)}, open_instruments(tmp_path, CPU))["half"]
    assert measured.coverage["seen"] == 0.5
    assert measured.coverage["psnr seen"] is None, "they are exact"
    json.dumps(measured.to_json(), allow_nan=False)
    assert measured.coverage["psnr invented"] == pytest.approx(measured.mean["psnr"] - 3.01, abs=1)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda clip: Clip(clip.frames[1:], clip.cameras[1:]), "it gave frames"),
        (lambda clip: Clip(clip.frames / 0, clip.cameras), "NaN"),
    ],
)
def test_a_broken_method(wall: Wall, spoil: Callable[[Clip], Clip], why: str) -> None:
    with pytest.raises(RunError, match=why):
        make(load_task(read_cases(wall())[0]), lambda *task: spoil(crossfade(*task)))


def record_of(kind: str, figure: float, context: list[float | None], i3d: list[float] | None = None) -> CaseRecord:
    features = i3d and {"made": i3d, "truth": [0.0, 0.0]}
    return record(kind=kind, mean={"psnr": figure, "lpips": "n/a"}, context_psnr=context, i3d=features)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = record_of("wide", 10.0, [None, 20.0], [1.0, 2.0])
    for written in (whole, replace(whole, student={"name": "small", "t": 459, "steps": 1}, fingerprint="f")):
        write_json(tmp_path / "record.json", written.to_json())
        assert json.loads((tmp_path / "record.json").read_text())["context psnr"] == [None, 20.0]
        assert read_record(tmp_path / "record.json").to_json() == json.loads(json.dumps(written.to_json()))
    (tmp_path / "record.json").write_text('{"psnr": 20}')
    with pytest.raises(InputError, match="no record"):
        read_record(tmp_path / "record.json")


def test_means_are_over_cases() -> None:
    summary = summarise(
        [
            record_of("wide", 10.0, [30.0, 20.0]),
            record_of("wide", 20.0, [26.0, 28.0]),
            record_of("medium", 6.0, [None, 20.0]),
        ]
    )
    assert list(summary) == ["medium", "wide", "all"]
    assert summary["wide"]["mean"] == {"psnr": 15, "lpips": "n/a", "fvd": "n/a", "kvd": "n/a"}
    assert summary["wide"]["context psnr"] == {"mean": 26, "worst": 20}
    assert summary["medium"]["context psnr"] == {"mean": None, "worst": 20}
    assert summary["all"]["mean"]["psnr"] == 12
    assert [summary[kind]["cases"] for kind in summary] == [1, 2, 3]


def test_distances_of_sets_are_over_clips_that_are_long_enough() -> None:
    records = [
        record_of("wide", 1.0, [], [3.0, 1.0]),
        record_of("wide", 1.0, [], [3.0, 3.0]),
        record_of("wide", 1.0, []),
    ]
    wide = summarise(records)["wide"]
    assert wide["clips"] == 2
    assert wide["mean"]["fvd"] == pytest.approx(3**2 + 2**2 + 2), "squared mean, and the variance of the second logit"
