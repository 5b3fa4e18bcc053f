"""The first scene of posed photographs comes from pairs of neighbours; a pair that shows no depth is left out."""

import pytest
import torch

from stages.errors import RunError
from stages.prior.matching import Matches
from stages.prior.predict import Prediction
from stages.reconstruct import initial_gaussians
from stages.scene import Cameras, Gaussians, Views

SIZE = (16, 32)


def walk(steps: list[float]) -> Views:
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(steps), 1, 1)
    c2w[:, 0, 3] = torch.tensor(steps)
    K = torch.tensor([[30.0, 0, 16], [0, 30, 8], [0, 0, 1]], dtype=torch.float64).expand(len(steps), 3, 3)
    return Views(torch.rand(len(steps), 3, *SIZE, generator=torch.Generator().manual_seed(0)), Cameras(c2w, K, SIZE))


@pytest.fixture(autouse=True)
def _pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prior of one Gaussian a pair, at its first camera; matches that say nothing."""

    def predict(pair: Views, near_far: torch.Tensor, network: object) -> Prediction:
        where, quat = pair.cameras.c2w[:1, :3, 3].float(), torch.tensor([[1.0, 0, 0, 0]])
        scene = Gaussians(
            where, torch.ones(1, 3), quat, torch.ones(1), torch.zeros(1, 1, 3), torch.zeros(1, dtype=torch.uint8)
        )
        return Prediction(scene, torch.ones(2, *SIZE), near_far)

    monkeypatch.setattr(initial_gaussians, "predict", predict)
    nothing = Matches(torch.empty(0, 2), torch.empty(0, 2), torch.empty(0), torch.empty(0, dtype=torch.bool))
    monkeypatch.setattr("stages.prior.pose.match", lambda a, b: nothing)


def test_a_walk_that_begins_standing_still() -> None:
    scene = initial_gaussians.predict_pairs(walk([0.0, 0.0, 0.5, 1.0, 1.5]), None)  # type: ignore[arg-type]
    assert sorted(scene.means[:, 0].tolist()) == [0.0, 0.5, 1.0], "the first two photographs are of one place"


def test_photographs_of_one_place_say_so() -> None:
    with pytest.raises(RunError) as caught:
        initial_gaussians.predict_pairs(walk([0.3, 0.3, 0.3]), None)  # type: ignore[arg-type]
    assert "same place" in caught.value.why
    assert "different places" in caught.value.hint
