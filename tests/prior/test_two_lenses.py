"""Cameras from exact matches of two photographs of different lens, zoom or crop, with right, wrong and no EXIF."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from stages.errors import RunError
from stages.geometry import turned_by
from stages.prior import pose
from stages.prior.lenses import Known, possible_lenses
from stages.prior.matching import Matches
from stages.prior.pose import PairGeometry, cameras_from_matches, estimate_cameras
from stages.prior.refine import refine
from stages.prior.still_marks import without_still_marks
from tests.tools.measure_pose import angles

W, H = 768, 512
FOCAL = 0.8 * W
TURN = turned_by(torch.tensor([0.05, 0.3, -0.02], dtype=torch.float64))
STEP = torch.tensor([-1.0, 0.3, 0.3], dtype=torch.float64)


def camera(focal: float, size: tuple[int, int] = (H, W)) -> Tensor:
    return torch.tensor([[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1]], dtype=torch.float64)


def matches_of(
    K: tuple[Tensor, Tensor],
    size_b: tuple[int, int] = (H, W),
    step: Tensor = STEP,
    flat: bool = False,
    relief: float = 0.0,
) -> Matches:
    """Matches of a random scene, 0.4 px of noise, a tenth of them wrong. The first photograph has H x W px.

    flat: all points lie on one plane, up to a share `relief` of their depth.
    """
    g = Generator().manual_seed(0)
    pixels = torch.rand(700, 2, generator=g, dtype=torch.float64) * torch.tensor([W, H])
    rays = F.pad(pixels, (0, 1), value=1.0) @ torch.linalg.inv(K[0]).mT
    depth = 2.0 + 3.0 * torch.rand(700, 1, generator=g, dtype=torch.float64)
    if flat:
        depth = 3.0 / (rays @ F.normalize(torch.tensor([0.5, 0.1, 1.0], dtype=torch.float64), dim=0))[:, None]
        depth = depth * (1 + relief * (2 * torch.rand(700, 1, generator=g, dtype=torch.float64) - 1))
    seen = (rays * depth @ TURN.mT + step) @ K[1].mT
    in_b = seen[:, :2] / seen[:, 2:]
    inside = ((in_b > 0) & (in_b < torch.tensor([size_b[1], size_b[0]]))).all(1)
    noise = 0.4 * torch.randn(2, int(inside.sum()), 2, generator=g, dtype=torch.float64)
    a, b = pixels[inside] + noise[0], in_b[inside] + noise[1]
    wrong = len(a) // 10
    b[:wrong] = torch.rand(wrong, 2, generator=g, dtype=torch.float64) * torch.tensor([size_b[1], size_b[0]])
    return Matches(a.float(), b.float(), torch.ones(len(a)), torch.ones(len(a), dtype=torch.bool))


def assert_right(found: PairGeometry) -> None:
    rotation, direction = angles(found, torch.cat([TURN, STEP[:, None]], 1))
    assert rotation < 3
    assert direction < 15


def test_one_lens_is_solved_without_doubts() -> None:
    K = camera(FOCAL)
    found = cameras_from_matches(matches_of((K, K)), [(H, W), (H, W)])
    assert_right(found)
    assert found.doubts == ()
    assert found.facts()["evidence"] == "good"


def test_two_focal_lengths_that_nearly_agree_are_less_likely_than_those_of_a_zoom() -> None:
    known = Known(camera(FOCAL).repeat(2, 1, 1), torch.ones(2, dtype=torch.float64), (True, True))
    lenses = possible_lenses(known, 1.0)
    one, two = lenses[0], lenses[-1]
    alike, zoomed = two.prior.mean + torch.tensor([0.1, 0.2]), two.prior.mean + torch.tensor([0.0, math.log(1.5)])
    assert two.penalty_of(zoomed) == two.penalty < two.penalty_of(alike)
    assert one.penalty_of(alike) == one.penalty == 0


@pytest.mark.parametrize("zoom", [0.5, 1.5, 2.0])
def test_a_zoomed_photograph_is_solved_and_said(zoom: float) -> None:
    K = camera(FOCAL), camera(zoom * FOCAL)
    found = cameras_from_matches(matches_of(K), [(H, W), (H, W)])
    assert_right(found)
    assert float(found.K[1, 0, 0] / found.K[0, 0, 0]) == pytest.approx(zoom, rel=0.1)
    assert any("two lenses" in doubt for doubt in found.doubts)
    assert found.facts()["evidence"] == "weak"


@pytest.mark.parametrize("size", [(H, H), (H, 384), (300, 460)])
def test_a_cut_photograph_is_solved(size: tuple[int, int]) -> None:
    """Cut in the middle: a square, upright, and 60 %."""
    K = camera(FOCAL), camera(FOCAL, size)
    found = cameras_from_matches(matches_of(K, size), [(H, W), size])
    assert_right(found)
    assert float(found.K[1, 0, 0] / found.K[0, 0, 0]) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("zoom", [1.0, 1.2, 2.0, 3.0])
@pytest.mark.parametrize("exif", [None, 0.91, 0.93, 1.0, 1.07])
def test_turns_and_zooms_from_one_place_are_refused(zoom: float, exif: float | None) -> None:
    """exif: the focal lengths that EXIF states, relative to the true ones."""
    K = camera(FOCAL), camera(zoom * FOCAL)
    focals = ((exif * FOCAL,), (exif * 0.99 * zoom * FOCAL,)) if exif else ((), ())
    with pytest.raises(RunError, match="one place"):
        cameras_from_matches(matches_of(K, step=torch.zeros(3, dtype=torch.float64)), [(H, W), (H, W)], focals)


def with_marks(matches: Matches, count: int) -> Matches:
    """The matches, and `count` more that have one place in both photographs, 0.2 px of noise."""
    g = Generator().manual_seed(1)
    place = torch.rand(count, 2, generator=g) * torch.tensor([W, H])
    again = place + 0.2 * torch.randn(count, 2, generator=g)
    places = (torch.cat([matches.points_a, place]), torch.cat([matches.points_b, again]))
    return Matches(*places, torch.ones(len(matches) + count), torch.ones(len(matches) + count, dtype=torch.bool))


def test_the_matches_of_a_watermark_are_left_out() -> None:
    K = camera(FOCAL)
    scene = matches_of((K, K))
    sizes = [(H, W), (H, W)]
    found = cameras_from_matches(without_still_marks(with_marks(scene, 300), sizes), sizes)
    assert_right(found)
    assert found.doubts == ()
    assert found.matches == len(scene)


def test_marks_are_looked_for_before_matches_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """The alignment may move the match of a thin mark, with the scene behind it, so that it is still no longer."""
    K = camera(FOCAL)
    scene = matches_of((K, K))
    marked = with_marks(scene, 300)

    def aligned(images: Sequence[Tensor], matches: Matches) -> Matches:
        moved = matches.points_b.clone()
        moved[len(scene) :, 1] += 3
        return replace(matches, points_b=moved)

    monkeypatch.setattr(pose, "match", lambda a, b: marked)
    monkeypatch.setattr(pose, "exact_matches", aligned)
    found = estimate_cameras([torch.zeros(3, H, W)] * 2)
    assert_right(found)
    assert found.matches == len(scene)


def test_where_most_matches_are_still_the_camera_is() -> None:
    """People walk before a camera on a tripod."""
    K = camera(FOCAL)
    matches = without_still_marks(with_marks(matches_of((K, K)), 4000), [(H, W), (H, W)])
    with pytest.raises(RunError, match="one place"):
        cameras_from_matches(matches, [(H, W), (H, W)])


def test_a_flat_surface_is_refused_without_a_focal_length_and_solved_with_doubts_with_one() -> None:
    K = camera(FOCAL)
    matches = matches_of((K, K), flat=True)
    with pytest.raises(RunError, match="flat surface"):
        cameras_from_matches(matches, [(H, W), (H, W)])
    found = cameras_from_matches(matches, [(H, W), (H, W)], ((FOCAL,), (FOCAL,)))
    assert any("flat" in doubt for doubt in found.doubts)


def test_exact_matches_show_a_parallax_that_others_do_not() -> None:
    """The relief of a house front moves points by a pixel or two, which counts only if they are known as exactly."""
    K = camera(FOCAL)
    exact = matches_of((K, K), flat=True, relief=0.01)
    found = cameras_from_matches(exact, [(H, W), (H, W)])
    assert not any("flat" in doubt for doubt in found.doubts)
    with pytest.raises(RunError, match="flat surface"):
        cameras_from_matches(replace(exact, exact=torch.zeros_like(exact.exact)), [(H, W), (H, W)])


def test_matches_of_endless_noise_count_nothing() -> None:
    """Here those that are off by several pixels."""
    K = camera(FOCAL)
    matches = matches_of((K, K))
    a, b = matches.points_a.double(), matches.points_b.double()
    noisy = torch.arange(len(a)) % 3 == 0
    b[noisy] += 5 * torch.randn(int(noisy.sum()), 2, generator=Generator().manual_seed(2), dtype=torch.float64)
    start = (torch.stack([K, K]), TURN, STEP)
    noise = torch.full_like(a[:, 0], 0.5)
    without = refine(a[~noisy], b[~noisy], *start, noise[~noisy])
    weighted = refine(a, b, *start, noise.masked_fill(noisy, math.inf))
    torch.testing.assert_close(weighted.rotation, without.rotation, atol=1e-6, rtol=0)
    torch.testing.assert_close(weighted.translation, without.translation, atol=1e-6, rtol=0)
    assert weighted.cost == pytest.approx(without.cost, rel=1e-6)


def test_exif_is_a_prior_of_some_ten_percent() -> None:
    K = camera(FOCAL)
    for factor in (0.93, 1.0, 1.08):
        found = cameras_from_matches(matches_of((K, K)), [(H, W), (H, W)], ((factor * FOCAL,), (factor * FOCAL,)))
        assert_right(found)
        assert found.focal_source == "exif"
        assert abs(float(found.K[0, 0, 0]) / FOCAL - 1) < 0.09
        assert found.doubts == ()


def test_exif_that_contradicts_the_matches_is_dropped_and_said() -> None:
    """A phone of 28 mm that claims 177 mm."""
    K, claimed = camera(FOCAL), 177 / 28 * FOCAL
    found = cameras_from_matches(matches_of((K, K)), [(H, W), (H, W)], ((claimed,), (claimed,)))
    assert_right(found)
    assert found.focal_source == "matches"
    assert any("EXIF" in doubt for doubt in found.doubts)


def test_exif_of_a_photograph_that_was_cut_later_is_right_for_the_other() -> None:
    K = camera(FOCAL), camera(1.7 * FOCAL)
    found = cameras_from_matches(matches_of(K), [(H, W), (H, W)], ((FOCAL,), (FOCAL,)))
    assert_right(found)
    assert found.focal_source == "exif"
    assert float(found.K[1, 0, 0] / found.K[0, 0, 0]) == pytest.approx(1.7, rel=0.1)


def test_the_reading_of_exif_that_fits_the_matches_is_taken() -> None:
    """A digital zoom of 2 that the 35 mm equivalent counts, or does not count."""
    K = camera(FOCAL), camera(2 * FOCAL)
    for readings in ((2 * FOCAL, 4 * FOCAL), (4 * FOCAL, 2 * FOCAL)):
        found = cameras_from_matches(matches_of(K), [(H, W), (H, W)], ((FOCAL,), readings))
        assert_right(found)
        assert found.focal_source == "exif"
        assert found.doubts == ()


@pytest.mark.parametrize(("focal", "baseline"), [(1.6, 0.05), (2.0, 0.1)])
def test_the_sign_of_the_step_is_the_one_that_puts_points_in_front(focal: float, baseline: float) -> None:
    """Small steps with a long lens: from a wide first guess the refinement turns the step round."""
    g = Generator().manual_seed(0)
    n, K = 600, camera(focal * W)
    pixels = torch.rand(n, 2, generator=g, dtype=torch.float64) * torch.tensor([W, H])
    depth = 1 + 2 * torch.rand(n, 1, generator=g, dtype=torch.float64)
    points = F.pad(pixels, (0, 1), value=1.0) @ torch.linalg.inv(K).mT * depth
    turn = turned_by(torch.tensor([0.0, math.radians(4), 0.0], dtype=torch.float64))
    centre = baseline * F.normalize(torch.randn(3, generator=g, dtype=torch.float64), dim=0)
    seen = (points - centre) @ turn.mT @ K.mT
    noise = 0.7 * torch.randn(2, n, 2, generator=g, dtype=torch.float64)
    a, b = pixels + noise[0], seen[:, :2] / seen[:, 2:] + noise[1]
    b[:150] = torch.rand(150, 2, generator=g, dtype=torch.float64) * torch.tensor([W, H])
    matches = Matches(a.float(), b.float(), torch.ones(n), torch.ones(n, dtype=torch.bool))
    found = cameras_from_matches(matches, [(H, W), (H, W)])
    assert found.inliers > 350  # of 450
