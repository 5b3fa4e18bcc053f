"""Points for COLMAP: where the scene is, seen where they are seen, and pycolmap agrees."""

from pathlib import Path

import pycolmap
import torch

from stages.files.colmap import write_colmap
from stages.reconstruct.tracks import find_tracks
from stages.scene import Views
from tests.reconstruct.test_find_cameras import cameras, photographs


def test_matched_points_reproject_within_a_pixel(tmp_path: Path) -> None:
    views = Views(photographs(3), cameras(3))
    tracks = find_tracks(views)
    x, y, z = tracks.points.unbind(1)
    wall = 3 + 0.25 * torch.sin(2 * x) + 0.25 * torch.cos(3 * y)
    assert len(tracks.points) > 200
    assert float((z - wall).abs().median()) < 0.02
    extra = torch.cat([tracks.points, torch.randn(5, 3).double()])  # points that nobody saw come after them
    write_colmap(tmp_path, views.cameras, ["a", "b", "c"], extra, None, tracks.observations)
    model = pycolmap.Reconstruction(str(tmp_path / "sparse" / "0"))
    assert model.compute_num_observations() == 2 * len(tracks.points)
    errors = []
    for image in model.images.values():
        camera = model.cameras[image.camera_id]
        for seen in image.points2D:
            point = model.points3D[seen.point3D_id]
            assert image.image_id in {element.image_id for element in point.track.elements}
            errors.append(float(torch.tensor(camera.img_from_cam(image.cam_from_world() * point.xyz) - seen.xy).norm()))
    assert sorted(errors)[len(errors) // 2] < 0.5
    assert max(errors) < 2
    assert model.compute_mean_reprojection_error() < 0.6
    colour = torch.stack(
        [views.images[0][:, int(y), int(x)] for _, view, x, y in tracks.observations.tolist() if view == 0]
    )
    assert torch.equal(tracks.colors[: len(colour)], colour)


def test_photographs_from_one_place_and_single_ones_give_no_points() -> None:
    one = Views(photographs(1), cameras(1))
    twice = Views(one.images[[0, 0]], one.cameras[[0, 0]])
    for views in (one, twice):
        tracks = find_tracks(views)
        assert tracks.points.shape == (0, 3)
        assert tracks.observations.shape == (0, 4)
