"""`reconstruct`: what it leaves, that others can read it, that it resumes to the same result, and what it refuses."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from stages.errors import InputError
from stages.files.colmap import write_colmap
from stages.files.ply import read_ply
from stages.files.transforms import read_transforms, write_transforms
from stages.files.video import read_mp4, write_mp4
from stages.reconstruct.merge import thin
from stages.reconstruct.viewer_formats import FORMATS
from stages.scene import Gaussians, Views
from tests.cli.conftest import Ended
from tests.cli.nerfstudio_rules import read_by_nerfstudios_rules, read_points
from tests.cli.program import fake_prior

Run = Callable[..., Ended]
Start = Callable[..., "subprocess.Popen[bytes]"]
SMALL = ("--steps", 12, "--gaussians", 4000)


@pytest.fixture
def scene(videoscene: Run, photos: tuple[Path, Path], tmp_path: Path) -> Path:
    """A finished scene of 5 frames of 96 x 64."""
    folder = tmp_path / "scene"
    assert videoscene("generate", *photos, "-o", folder, "--size", 64, "--frames", 5).code == 0
    return folder


def test_it_leaves_a_scene_that_others_read(videoscene: Run, scene: Path) -> None:
    import pycolmap
    from plyfile import PlyData

    ended = videoscene("reconstruct", scene, *SMALL, *(f"--export={form}" for form in FORMATS))
    assert (ended.code, ended.out) == (0, f"{scene}\n"), ended.err
    made = scene / "reconstruct"
    expected = {
        "gaussians.ply",
        "images",
        "transforms.json",
        "sparse",
        "video.mp4",
        "orbit.mp4",
        "depth.mp4",
        "manifest.json",
    }
    expected |= {"scene.splat", "scene.compressed.ply", "scene.sh3.ply", "scene.html", "sparse_pc.ply"}
    assert set(os.listdir(made)) == expected
    assert sorted(os.listdir(scene)) == ["generate", "inputs", "prior", "reconstruct", "render"]
    cameras, names = read_transforms(made / "transforms.json")
    assert len(cameras) == 5  # two photographs, and the three frames between them
    assert all((made / name).is_file() for name in names)
    model = pycolmap.Reconstruction(str(made / "sparse" / "0"))
    assert model.num_images() == 5
    assert model.num_points3D() > 50
    for image in model.images.values():
        w2c = torch.from_numpy(image.cam_from_world().matrix())
        index = names.index(f"images/{image.name}")
        assert torch.allclose(w2c, cameras.w2c[index, :3], atol=1e-6)
    points = PlyData.read(made / json.loads((made / "transforms.json").read_text())["ply_file_path"])["vertex"]
    assert points.count == model.num_points3D()
    assert [p.name for p in points.properties] == ["x", "y", "z", "red", "green", "blue"]
    assert 100 <= len(read_ply(made / "gaussians.ply")) <= 4000
    assert [len(read_mp4(made / f"{name}.mp4")) for name in ("video", "depth", "orbit")] == [5, 5, 49]
    manifest = json.loads((made / "manifest.json").read_text())
    assert manifest["psnr"]["after"]["photographs"] > manifest["psnr"]["before"]["photographs"]
    assert manifest["options"]["steps"] == 12


def test_nerfstudio_finds_images_cameras_and_points(videoscene: Run, scene: Path) -> None:
    """Most points lie in front of the cameras and inside their images."""
    assert videoscene("reconstruct", scene, *SMALL).code == 0
    for folder in ("prior", "render", "generate"):
        read_by_nerfstudios_rules(scene / folder)
    paths, K, poses = read_by_nerfstudios_rules(scene / "reconstruct")
    points, colours = read_points(scene / "reconstruct")
    for path, k, pose in zip(paths, K, poses, strict=True):
        camera = (points - pose[:, 3]) @ pose[:, :3] * [1, -1, -1]  # OpenGL axes to those of the image
        x, y = (camera @ k.T)[:, :2].T / camera[:, 2]
        with Image.open(path) as image:
            width, height = image.size
        assert ((camera[:, 2] > 0) & (x > 0) & (x < width) & (y > 0) & (y < height)).mean() > 0.6
    assert colours.max() > 100


def test_the_same_request_is_up_to_date_and_another_needs_force(videoscene: Run, scene: Path) -> None:
    assert videoscene("reconstruct", scene, *SMALL).code == 0
    assert "up to date" in videoscene("reconstruct", scene, *SMALL).err
    other = videoscene("reconstruct", scene, "--steps", 13, "--gaussians", 4000)
    assert other.code == 2
    assert "steps was 12, now 13" in other.err
    assert "--force" in other.err
    assert videoscene("reconstruct", scene, "--steps", 13, "--gaussians", 4000, "--force").code == 0


def test_another_folder_gets_a_whole_scene(videoscene: Run, scene: Path, tmp_path: Path) -> None:
    assert videoscene("reconstruct", scene, *SMALL, "-o", tmp_path / "other").code == 0
    assert sorted(os.listdir(tmp_path / "other")) == ["generate", "inputs", "prior", "reconstruct", "render"]
    assert not (scene / "reconstruct").exists()


def test_a_dry_run_does_nothing(videoscene: Run, scene: Path) -> None:
    ended = videoscene("reconstruct", scene, "--dry-run")
    assert ended.code == 0
    assert "to be made" in ended.out
    assert not (scene / "reconstruct").exists()
    assert videoscene("reconstruct", scene, *SMALL).code == 0
    manifest = scene / "reconstruct" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    assert "state: up to date" in videoscene("reconstruct", scene, *SMALL, "--dry-run").out
    assert manifest.stat().st_mtime_ns == before


def test_a_killed_run_goes_on_to_the_very_same_gaussians(
    program: Start, videoscene: Run, scene: Path, tmp_path: Path
) -> None:
    command = ("reconstruct", scene, "--steps", 120, "--gaussians", 4000)
    process = program(*command)
    checkpoint = scene / ".reconstruct.checkpoint"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert checkpoint.exists()
    assert not (scene / "reconstruct").exists()
    resumed = videoscene(*command)
    assert resumed.code == 0
    assert "going on from step" in resumed.err
    assert not checkpoint.exists()
    assert videoscene(*command, "-o", tmp_path / "whole").code == 0
    first, second = (read_ply(folder / "reconstruct" / "gaussians.ply") for folder in (scene, tmp_path / "whole"))
    assert all(
        torch.equal(getattr(first, name), getattr(second, name))
        for name in ("means", "scales", "quats", "opacities", "sh")
    )


def posed_folder(scene: Path, folder: Path) -> Path:
    """The frames of a scene as somebody else's folder of posed photographs."""
    folder.mkdir()
    shutil.copytree(scene / "generate" / "frames", folder / "frames")
    shutil.copy(scene / "generate" / "transforms.json", folder)
    return folder


def flat_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs without Gaussians start from the prior of tests/cli/program.py."""
    import stages.reconstruct.initial_gaussians as initial

    def predict(views: Views, near_far: None, network: None) -> Any:
        return fake_prior()["stages.pipeline.predict"](
            Views(views.images, views.cameras.to(torch.float32)), near_far, network
        )

    monkeypatch.setattr(initial, "match_views", lambda views: (views, None))
    monkeypatch.setattr(initial, "predict", predict)


def test_posed_photographs_of_others_are_reconstructed(
    videoscene: Run, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat_prior(monkeypatch)
    folder = posed_folder(scene, tmp_path / "walk")
    assert videoscene("reconstruct", folder, *SMALL, "--size", 64).code == 0
    assert len(read_transforms(folder / "reconstruct" / "transforms.json")[0]) == 5
    video = tmp_path / "walk.mp4"
    write_mp4(video, read_mp4(scene / "generate" / "video.mp4"), 8)
    ended = videoscene(
        "reconstruct", video, "--cameras", folder / "transforms.json", *SMALL, "--size", 64, "-o", tmp_path / "of-video"
    )
    assert ended.code == 0, ended.err
    fewer = tmp_path / "fewer.json"
    write_transforms(fewer, read_transforms(folder / "transforms.json")[0][:3], ["0", "1", "2"])
    wrong = videoscene("reconstruct", video, "--cameras", fewer, *SMALL, "-o", tmp_path / "wrong")
    assert wrong.code == 2
    assert "5 frames, 3 cameras" in wrong.err
    assert not (tmp_path / "wrong").exists()


def test_a_colmap_folder_is_reconstructed_and_gives_cameras(
    videoscene: Run, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat_prior(monkeypatch)
    cameras, _ = read_transforms(scene / "generate" / "transforms.json")
    folder = tmp_path / "colmap"
    shutil.copytree(scene / "generate" / "frames", folder / "images")
    write_colmap(folder, cameras, [f"{k:04d}.png" for k in range(5)])
    ended = videoscene("reconstruct", folder, *SMALL, "--size", 64, "-o", tmp_path / "out")
    assert ended.code == 0, ended.err
    made = read_transforms(tmp_path / "out" / "reconstruct" / "transforms.json")[0]
    assert torch.allclose(made.c2w, cameras.c2w, atol=1e-5)
    pair = [folder / "images" / name for name in ("0000.png", "0004.png")]
    planned = videoscene("prior", *pair, "--cameras", folder, "-o", tmp_path / "s", "--size", 64, "--dry-run", "--json")
    assert json.loads(planned.out)["inputs"]["images"] == str(folder / "sparse" / "0" / "images.bin")
    (folder / "images" / "0003.png").unlink()
    assert "0003.png" in refuse(videoscene, folder, "-o", tmp_path / "other")
    assert "no COLMAP model" in videoscene("prior", *pair, "--cameras", tmp_path, "-o", tmp_path / "s").err


def test_photographs_without_cameras_are_reconstructed(
    videoscene: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.files.images import write_png
    from tests.reconstruct.test_find_cameras import photographs

    flat_prior(monkeypatch)
    folder = tmp_path / "wall"
    for index, image in enumerate(photographs(4)):
        write_png(folder / f"{index}.png", image)
    ended = videoscene("reconstruct", folder, "--steps", 4, "--gaussians", 4000, "--size", 64, "-o", tmp_path / "out")
    assert ended.code == 0, ended.err
    made = tmp_path / "out" / "reconstruct"
    cameras, names = read_transforms(made / "transforms.json")
    assert len(cameras) == 4
    assert cameras.size == (64, 80)
    assert all((made / name).is_file() for name in names)
    assert [len(read_mp4(made / f"{name}.mp4")) for name in ("video", "depth", "orbit")] == [4, 4, 49]


def test_a_full_disk_is_told_and_the_earlier_result_stays(program: Start, videoscene: Run, scene: Path) -> None:
    assert videoscene("reconstruct", scene, *SMALL).code == 0
    manifest = scene / "reconstruct" / "manifest.json"
    before = manifest.read_bytes(), sorted(os.listdir(scene))

    def no_large_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    process = program("reconstruct", scene, "--steps", 3, "--gaussians", 4000, "--force", preexec_fn=no_large_files)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert len(err.splitlines()) == 3
    assert b"gaussians.ply" in err
    assert b"free some space" in err
    assert (manifest.read_bytes(), sorted(os.listdir(scene))) == before
    assert "up to date" in videoscene("reconstruct", scene, *SMALL).err


def refuse(videoscene: Run, *arguments: object) -> str:
    ended = videoscene("reconstruct", *arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 3
    return ended.err


def test_what_is_no_scene_is_refused(videoscene: Run, scene: Path, tmp_path: Path) -> None:
    assert "|".join(FORMATS) in videoscene("reconstruct", "--help").out
    assert "|".join(FORMATS) in refuse(videoscene, scene, "--export", "obj")
    assert "no such file or folder" in refuse(videoscene, tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    assert "transforms.json" in refuse(videoscene, tmp_path / "empty")
    assert "2 photographs" in refuse(videoscene, tmp_path)  # where the fixture has put two, without cameras
    assert "--cameras" in refuse(videoscene, scene / "generate" / "video.mp4")
    assert "--cameras" in refuse(videoscene, scene, "--cameras", scene / "prior" / "transforms.json")
    shutil.rmtree(scene / "generate")
    assert "no finished generate" in refuse(videoscene, scene)


def test_damaged_scenes_are_refused(videoscene: Run, scene: Path) -> None:
    frame = scene / "generate" / "frames" / "0002.png"
    frame.rename(frame.with_name("gone.png"))
    refuse(videoscene, scene)
    frame.with_name("gone.png").rename(frame)
    (scene / "prior" / "gaussians.ply").write_bytes(
        b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nend_header\n"
    )
    assert "has changed" in refuse(videoscene, scene)
    assert not (scene / "reconstruct").exists()


def test_a_folder_of_bad_poses_is_refused(videoscene: Run, scene: Path, tmp_path: Path) -> None:
    folder = posed_folder(scene, tmp_path / "walk")
    text = (folder / "transforms.json").read_text()
    document = json.loads(text)
    document["frames"][1]["transform_matrix"][0][3] = float("nan")
    (folder / "transforms.json").write_text(json.dumps(document))
    assert "NaN" in refuse(videoscene, folder)
    (folder / "transforms.json").write_text(text)
    (folder / "frames" / "0001.png").unlink()
    refuse(videoscene, folder)


def test_gaussians_behind_every_camera_are_refused(scene: Path) -> None:
    cameras, _ = read_transforms(scene / "generate" / "transforms.json")
    g = read_ply(scene / "prior" / "gaussians.ply")
    with pytest.raises(InputError, match="front of a camera"):
        thin(Gaussians(-g.means, g.scales, g.quats, g.opacities, g.sh), cameras, 1000)
