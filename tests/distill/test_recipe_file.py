"""Recipes: those that ship are read whole; what is not understood is an error that names it and what is known."""

from pathlib import Path

import pytest

from stages.distill.recipe_file import RECIPES, Config, find_config, read_config
from stages.errors import InputError
from stages.files.settings import parse


def test_the_recipes_that_ship() -> None:
    small, paper = (read_config(find_config(name)) for name in ("small", "cogvideox-5b"))
    assert small.model == "small"
    assert min(small.teacher.steps, small.student.steps, small.policy.steps) > 0
    assert (paper.data.frames, paper.data.size) == (49, (480, 720))
    assert (paper.teacher.steps, paper.student.steps, paper.policy.steps) == (900, 20000, 4000)
    assert (paper.student.learning_rate, paper.student.batch, paper.student.gap_share) == (3e-5, 2, 0.0)
    assert 459 in paper.policy.grid
    prior = read_config(find_config("prior"))
    assert prior.model == "small-prior"
    assert prior.phases == ("monocular", "prior")
    assert {path.name for path in RECIPES.iterdir()} == {"small.yaml", "cogvideox-5b.yaml", "prior.yaml"}


def test_what_is_written_is_read_back() -> None:
    config = read_config(find_config("small"))
    assert parse(Config, config.to_dict(), "x") == config


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("techer: {steps: 3}", ["'techer'", "teacher"]),
        ("teacher: {step: 3}", ["teacher", "'step'", "steps"]),
        ("teacher: 3", ["not a mapping"]),
        ("teacher: {steps: many}", ["steps", "'many'", "a valid integer"]),
        ("teacher: {steps: true}", ["steps", "True"]),
        ("teacher: {decay: linear}", ["cosine", "constant"]),
        ("student: {near: [0, 1000]}", ["0 to 999"]),
        ("student: {leap_max: 0}", ["leap_max must be from 1 to 999"]),
        ("policy: {grid: [459]}", ["two or more"]),
        ("policy: {clips: 1}", ["held_out"]),
        ("data: {frames: 16}", ["4k + 1"]),
        ("data: {size: [100, 128]}", ["multiples of 16"]),
        ("data: {size: [128]}", ["[128]"]),
        ("model: large", ["small", "cogvideox-5b"]),
        ("model: [", ["cannot read"]),
        ("!!python/object/apply:os.system ['true']", ["cannot read"]),
        ("- 3", ["not a mapping"]),
    ],
)
def test_what_is_not_understood(tmp_path: Path, text: str, told: list[str]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_config(path)
    message = f"{caught.value.what} {caught.value.why} {caught.value.hint}"
    assert all(word in message for word in told), message


def test_no_such_recipe() -> None:
    with pytest.raises(InputError, match="neither a known name nor a file") as caught:
        find_config("tiny")
    assert "cogvideox-5b, prior, small" in caught.value.hint
