"""Gaussians: their colours, joining them."""

import torch

from stages.scene import Cameras, Clip, Gaussians, Views, colours_to_sh


def gaussians(count: int, bands: int = 1, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    rows = {"means": 3, "scales": 3, "quats": 4}
    tensors = {name: torch.rand(count, width, generator=generator) for name, width in rows.items()}
    return Gaussians(
        **tensors, opacities=torch.rand(count, generator=generator), sh=torch.rand(count, bands, 3, generator=generator)
    )


def test_colours_become_harmonics_and_colours_again() -> None:
    scene, colours = gaussians(5), torch.rand(5, 3, generator=torch.Generator().manual_seed(3))
    shown = Gaussians(scene.means, scene.scales, scene.quats, scene.opacities, colours_to_sh(colours))
    torch.testing.assert_close(shown.colours, colours)


def test_joined_gaussians_stand_one_after_the_other_and_lower_harmonics_are_extended_by_zeros() -> None:
    plain, shiny = gaussians(2), gaussians(3, bands=4, seed=1)
    both = plain.joined(shiny)
    assert torch.equal(both.means, torch.cat([plain.means, shiny.means]))
    assert torch.equal(both[2:].sh, shiny.sh)
    assert torch.equal(both[:2].sh[:, :1], plain.sh)
    assert not both[:2].sh[:, 1:].any()


def test_objects_of_tensors_are_compared_by_identity_and_can_be_keys() -> None:
    cameras = Cameras(torch.eye(4).repeat(2, 1, 1), torch.eye(3).repeat(2, 1, 1), (4, 4))
    views, same = (Views(torch.zeros(2, 3, 4, 4), cameras) for _ in range(2))
    assert views == views
    assert views != same
    assert len({views, same, cameras, gaussians(1), Clip(views.images, cameras)}) == 5
