"""Reading cases: what is in them, and every way in which they can be wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stages.errors import InputError
from stages.evaluate.cases import find_scenes, load_task, read_cases
from stages.files.images import write_png


def test_cases_of_a_scene(wall: Callable[..., Path]) -> None:
    medium, wide = read_cases(wall())
    assert (medium.kind, medium.context, medium.targets) == ("medium", (0, 2), (1,))
    assert (wide.name, wide.targets) == ("wall-0000-0004", (1, 2, 3))


def test_a_task(wall: Callable[..., Path]) -> None:
    task = load_task(read_cases(wall())[1])
    assert task.truth.shape == (3, 3, 48, 64)
    assert task.context.images.shape == (2, 3, 48, 64)
    assert task.times.tolist() == [0.25, 0.5, 0.75]
    torch.testing.assert_close(task.cameras.c2w[:, 0, 3], torch.tensor([0.15, 0.30, 0.45], dtype=torch.float64))
    assert torch.equal(task.truth[0, :, :, :-3], task.context.images[0, :, :, 3:]), "the next frame is 3 pixels further"


def test_scenes_are_found_one_level_down(wall: Callable[..., Path]) -> None:
    b, a = wall("b"), wall("a")
    assert find_scenes([a.parent]) == [a, b]
    assert find_scenes([b, a]) == [b, a]


def test_a_folder_without_scenes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no transforms\.json"):
        find_scenes([tmp_path])


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ([], "not a list of cases"),
        ({}, "not a list of cases"),
        ([3], "lacks"),
        ([{"kind": "wide", "context": [0, 4]}], "'target'"),
        ([{"kind": "wide", "context": [0, 4], "target": []}], "at least one target|a case is"),
        ([{"kind": "wide", "context": [0, 0], "target": [1]}], "a case is"),
        ([{"kind": "wide", "context": [0, 5], "target": [1]}], "the scene has 5"),
        ([{"kind": "wide", "context": [0, 4], "target": [-1]}], "the scene has 5"),
        ([{"kind": "wide", "context": [0, 4], "target": ["1"]}], "the scene has 5"),
        ([{"kind": "../../etc", "context": [0, 4], "target": 1}], "lacks"),
    ],
)
def test_bad_cases(wall: Callable[..., Path], pairs: object, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_cases(wall(pairs=pairs))


def test_not_json(wall: Callable[..., Path]) -> None:
    scene = wall()
    (scene / "pairs.json").write_text("[{")
    with pytest.raises(InputError, match=r"pairs\.json"):
        read_cases(scene)
    (scene / "pairs.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="nested too deeply"):
        read_cases(scene)
    (scene / "pairs.json").unlink()
    with pytest.raises(InputError, match=r"pairs\.json"):
        read_cases(scene)


def test_a_frame_that_is_missing_or_of_another_size(wall: Callable[..., Path]) -> None:
    scene = wall()
    case = read_cases(scene)[1]
    write_png(scene / "images" / "0002.png", torch.rand(3, 48, 48))
    with pytest.raises(InputError, match=r"0002\.png is 48 x 48, transforms\.json says 64 x 48"):
        load_task(case)
    (scene / "images" / "0002.png").unlink()
    with pytest.raises(InputError, match=r"0002\.png"):
        load_task(case)
