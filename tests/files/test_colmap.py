import struct
from pathlib import Path

import numpy as np
import pycolmap
import pytest
import torch

from stages.errors import InputError, RunError
from stages.files.colmap import model_files, model_folder, read_colmap, write_colmap
from stages.files.known_cameras import camera_files, read_known_cameras
from stages.files.transforms import read_transforms, write_transforms
from stages.scene import Cameras

NAMES = [f"{name}.png" for name in "zyxwv"]  # not in alphabetical order, which must not matter


def test_round_trip(tmp_path: Path, cameras: Cameras) -> None:
    points = torch.randn(20, 3, dtype=torch.float64)
    write_colmap(tmp_path, cameras, NAMES, points, torch.rand(20, 3))
    for folder in (tmp_path, tmp_path / "sparse" / "0"):
        again, names = read_colmap(folder)
        assert names == NAMES
        assert again.size == cameras.size
        assert torch.equal(again.K, cameras.K)
        assert (again.c2w - cameras.c2w).abs().max() < 1e-6
    model = pycolmap.Reconstruction(str(tmp_path / "sparse" / "0"))
    xyz = torch.tensor(np.stack([point.xyz for point in model.points3D.values()]))
    assert torch.equal(xyz.sort(0).values, points.sort(0).values)


def test_pycolmap_reads_it(tmp_path: Path, cameras: Cameras) -> None:
    """World-to-camera poses, PINHOLE cameras and colours, as COLMAP's own reader sees them."""
    points, colors = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 0.5, 0.0]])
    write_colmap(tmp_path, cameras, NAMES, points, colors)
    model = pycolmap.Reconstruction(str(tmp_path / "sparse" / "0"))
    assert model.num_reg_images() == 5
    assert model.num_cameras() == 5
    for index, name in enumerate(NAMES):
        image = model.find_image_with_name(name)
        assert np.allclose(image.cam_from_world().matrix(), cameras.w2c[index, :3].numpy(), atol=1e-9)
        camera = model.cameras[image.camera_id]
        assert camera.model_name == "PINHOLE"
        assert (camera.height, camera.width) == cameras.size
        assert np.array_equal(camera.calibration_matrix(), cameras.K[index].numpy())
    (point,) = model.points3D.values()
    assert point.xyz.tolist() == [1, 2, 3]
    assert point.color.tolist() == [255, 128, 0]


def test_shared_intrinsics_are_one_camera(tmp_path: Path, shared_cameras: Cameras) -> None:
    write_colmap(tmp_path, shared_cameras, NAMES)
    assert pycolmap.Reconstruction(str(tmp_path / "sparse" / "0")).num_cameras() == 1
    again, _ = read_colmap(tmp_path)
    assert (again.c2w - shared_cameras.c2w).abs().max() < 1e-6


def test_real_cameras_survive(tmp_path: Path, posed_scenes: list[Path]) -> None:
    """Centre and intrinsics agree to 1e-6, and so does the rotation, unless the file's own is not orthonormal."""
    for path in posed_scenes[:8]:
        cameras, names = read_transforms(path)
        write_colmap(tmp_path, cameras, names)
        again, _ = read_colmap(tmp_path)
        rotation = cameras.c2w[:, :3, :3]
        slack = (rotation @ rotation.mT - torch.eye(3, dtype=torch.float64)).abs().max()
        assert torch.equal(again.K, cameras.K)
        assert torch.allclose(again.c2w[:, :3, 3], cameras.c2w[:, :3, 3], rtol=1e-6, atol=1e-6)
        assert (again.c2w[:, :3, :3] - rotation).abs().max() < 1e-6 + 2 * slack


def test_reads_a_model_with_observations(tmp_path: Path) -> None:
    """A model as COLMAP itself makes it: 2D points and tracks."""
    options = pycolmap.SyntheticDatasetOptions(num_rigs=1, num_cameras_per_rig=1, num_frames_per_rig=4, num_points3D=50)
    options.camera_model_id = pycolmap.CameraModelId.PINHOLE
    options.camera_params = [1280, 1280, 512, 384]
    model = pycolmap.synthesize_dataset(options)
    model.write_binary(str(tmp_path))
    cameras, names = read_colmap(tmp_path)
    assert len(cameras) == 4
    for index, name in enumerate(names):
        assert np.allclose(
            model.find_image_with_name(name).cam_from_world().matrix(), cameras.w2c[index, :3].numpy(), atol=1e-9
        )


@pytest.mark.parametrize("name", ["cameras", "images"])
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "short", "huge", "junk"])
def test_refuses_damaged_models(tmp_path: Path, cameras: Cameras, name: str, damage: str) -> None:
    """pycolmap's own reader accepts some of these."""
    write_colmap(tmp_path, cameras, NAMES, torch.randn(10, 3))
    path = tmp_path / "sparse" / "0" / f"{name}.bin"
    data = path.read_bytes()
    path.unlink()
    junk = np.random.default_rng(0).integers(0, 256, len(data), dtype=np.uint8).tobytes()
    changed = {
        "empty": b"",
        "half": data[: len(data) // 2],
        "short": data[:-1],
        "huge": struct.pack("<Q", 2**63) + data[8:],
        "junk": junk,
    }
    if damage != "missing":
        path.write_bytes(changed[damage])
    with pytest.raises(InputError, match="cannot read"):
        read_colmap(tmp_path)


def test_refuses_other_models(tmp_path: Path) -> None:
    def model(
        kind: int,
        parameters: list[float],
        quaternion: tuple[float, ...] = (1, 0, 0, 0),
        camera: int = 1,
        size: int = 64,
    ) -> Path:
        cameras = struct.pack("<QIiQQ", 1, 1, kind, size, 48) + struct.pack(f"<{len(parameters)}d", *parameters)
        (tmp_path / "cameras.bin").write_bytes(cameras)
        (tmp_path / "images.bin").write_bytes(
            struct.pack("<QI7dI", 1, 1, *quaternion, 0, 0, 0, camera) + b"a.png\0" + struct.pack("<Q", 0)
        )
        (tmp_path / "points3D.bin").write_bytes(struct.pack("<Q", 0))
        return tmp_path

    assert read_colmap(model(0, [50, 32, 24]))[0].K[0].tolist() == [[50, 0, 32], [0, 50, 24], [0, 0, 1]]
    assert len(read_colmap(model(2, [50, 32, 24, 0]))[0]) == 1
    for bad, why in (
        ((2, [50, 32, 24, 0.1]), "distortion"),
        ((5, [50, 50, 32, 24, 0, 0, 0, 0]), "no pinhole"),
        ((1, [50, 50, 32, 24], (0, 0, 0, 0)), "length 0"),
        ((1, [50, 50, 32, 24], (float("nan"), 0, 0, 0)), "length 0"),
        ((1, [50, 50, 32, 24], (1, 0, 0, 0), 7), "no camera"),
        ((1, [-50, 50, 32, 24]), "focal"),
        ((1, [50, 50, 32, 24], (1, 0, 0, 0), 1, 0), "size"),
    ):
        with pytest.raises(InputError, match=why):
            read_colmap(model(*bad))
    (tmp_path / "cameras.bin").unlink()
    (tmp_path / "cameras.txt").write_text("")
    with pytest.raises(InputError, match="text model"):
        read_colmap(tmp_path)


def test_refuses_to_write_nonsense(tmp_path: Path, cameras: Cameras) -> None:
    with pytest.raises(InputError, match="NaN"):
        write_colmap(tmp_path, cameras, NAMES, torch.full((2, 3), float("nan")))
    with pytest.raises(ValueError, match="1 names for 5"):
        write_colmap(tmp_path, cameras, ["a"])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_colmap(tmp_path / "file", cameras, NAMES)


@pytest.mark.parametrize("observations", [0, 7])
def test_a_disk_that_fills_up_is_noticed(
    tmp_path: Path, cameras: Cameras, monkeypatch: pytest.MonkeyPatch, observations: int
) -> None:
    rows = torch.tensor(
        [[index % 4, index % 5, 3.0, 4.0] for index in range(observations)], dtype=torch.float64
    ).reshape(-1, 4)
    write_colmap(tmp_path, cameras, NAMES, torch.randn(4, 3), None, rows)  # a whole one is none
    write = pycolmap.Reconstruction.write_binary

    def cut(model: pycolmap.Reconstruction, folder: str) -> None:
        write(model, folder)
        path = Path(folder) / "points3D.bin"
        path.write_bytes(path.read_bytes()[:-1])

    monkeypatch.setattr(pycolmap.Reconstruction, "write_binary", cut)
    with pytest.raises(RunError, match="cut off"):
        write_colmap(tmp_path, cameras, NAMES, torch.randn(4, 3), None, rows)


def test_a_model_in_sparse_is_found_and_its_files_are_named(tmp_path: Path, cameras: Cameras) -> None:
    write_colmap(tmp_path / "a", cameras, NAMES)
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "sparse" / "0").rename(tmp_path / "b" / "sparse")
    assert read_colmap(tmp_path / "b")[1] == NAMES
    root = tmp_path / "b" / "sparse"
    assert model_files(tmp_path / "b") == {"cameras": root / "cameras.bin", "images": root / "images.bin"}
    assert model_folder(tmp_path / "a") is None


def test_the_folder_of_a_transforms_json_holds_known_cameras(tmp_path: Path, cameras: Cameras) -> None:
    names = [f"{index}.png" for index in range(len(cameras))]
    write_transforms(tmp_path / "transforms.json", cameras, names)
    assert camera_files(tmp_path) == {"cameras": tmp_path / "transforms.json"}
    for path in (tmp_path, tmp_path / "transforms.json"):
        found, found_names = read_known_cameras(path)
        assert torch.equal(found.c2w, cameras.c2w)
        assert found_names == names
