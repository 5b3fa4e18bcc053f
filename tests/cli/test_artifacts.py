"""What a run leaves, and what the next run makes of it: up to date, different, damaged, forced."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plyfile import PlyData

from stages.files.transforms import read_transforms
from stages.files.video import read_mp4
from tests.cli.conftest import Ended

Run = Callable[..., Ended]
Photos = tuple[Path, Path]
SHORT = ("--size", 64, "--frames", 3)


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest_of(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


@pytest.fixture
def scene(videoscene: Run, photos: Photos, tmp_path: Path) -> Path:
    assert videoscene("generate", *photos, "-o", tmp_path / "scene", *SHORT).code == 0
    return tmp_path / "scene"


@pytest.fixture
def video(videoscene: Run, photos: Photos, tmp_path: Path) -> Path:
    assert videoscene("generate", *photos, "-o", tmp_path / "out.mp4", *SHORT).code == 0
    return tmp_path / "out.mp4"


def test_a_scene_folder_is_laid_out_as_the_readme_says(scene: Path) -> None:
    numbered = [f"{index:04d}.png" for index in range(3)]
    images = [f"{kind}/{name}" for kind in ("frames", "alpha", "depth") for name in numbered]
    clip = ["transforms.json", "video.mp4", "manifest.json", *images]
    expected = {
        "inputs/0.png",
        "inputs/1.png",
        *(
            f"prior/{name}"
            for name in ("gaussians.ply", "transforms.json", "depth/0.png", "depth/1.png", "manifest.json")
        ),
        *(f"{stage}/{name}" for stage in ("render", "generate") for name in clip),
        "generate/gaussians.ply",
    }
    assert {str(path.relative_to(scene)) for path in scene.rglob("*") if path.is_file()} == expected
    cameras, names = read_transforms(scene / "prior" / "transforms.json")
    assert (len(cameras), names) == (2, ["../inputs/0.png", "../inputs/1.png"])


def test_a_video_comes_with_its_gaussians_and_its_manifest(video: Path, tmp_path: Path) -> None:
    assert {path.name for path in tmp_path.glob("*out*")} == {"out.mp4", "out.mp4.json", "out.ply"}
    assert read_mp4(video).shape == (3, 3, 64, 96)
    ply = PlyData.read(tmp_path / "out.ply")
    assert [element.name for element in ply.elements] == ["vertex"]
    assert manifest_of(tmp_path / "out.mp4.json")["fingerprint"] in " ".join(ply.comments)


def test_a_manifest_says_how_the_result_was_made(scene: Path, video: Path, photos: Photos) -> None:
    for path in [*scene.glob("*/manifest.json"), video.with_name("out.mp4.json")]:
        manifest = manifest_of(path)
        keys = {
            "schema",
            "command",
            "fingerprint",
            "created",
            "seed",
            "options",
            "inputs",
            "outputs",
            "weights",
            "seconds",
        }
        assert keys | {"peak_memory_bytes", "versions", "device"} <= set(manifest)
        for output in manifest["outputs"]:
            assert hashlib.sha256((path.parent / output["path"]).read_bytes()).hexdigest() == output["sha256"]
        assert manifest["peak_memory_bytes"] > 2**20
        assert manifest["device"] in ("cpu", "cuda")
    whole = manifest_of(video.with_name("out.mp4.json"))
    assert {"start", "cameras", "prior", "render", "generate", "write"} <= set(whole["seconds"])
    student = {"student": "small", "leap": "auto", "steps": 1}
    path = {"fps": 16.0, "keep_exposure": False, "path": "interp", "frames": 3}
    assert whole["options"] == {"size": 64, "seed": 0, **path, **student}
    assert [entry["sha256"] for entry in whole["inputs"]] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in photos
    ]
    assert whole["weights"]["prior"]["sha256"] == hashlib.sha256(b"weights").hexdigest()


def test_the_same_request_again_does_no_work(videoscene: Run, video: Path, scene: Path, photos: Photos) -> None:
    for target, manifest in ((video, video.with_name("out.mp4.json")), (scene, scene / "generate" / "manifest.json")):
        before, touched = snapshot(target.parent), manifest.stat().st_mtime_ns
        ended = videoscene("generate", *photos, "-o", target, *SHORT)
        assert (ended.code, ended.out) == (0, f"{target}\n")
        assert "up to date" in ended.err
        assert snapshot(target.parent) == before
        assert manifest.stat().st_mtime_ns > touched


def test_an_up_to_date_run_hashes_each_file_once(
    videoscene: Run, video: Path, scene: Path, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    digest = hashlib.file_digest

    def noted(file: Any, algorithm: Any) -> Any:
        hashed.append(file.name)
        return digest(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    for target in (video, scene):
        hashed.clear()
        assert "up to date" in videoscene("generate", *photos, "-o", target, *SHORT).err
        assert {str(path) for path in photos} <= set(map(str, hashed))
        assert not [name for name, count in Counter(map(str, hashed)).items() if count > 1]


def test_a_copy_of_the_photographs_is_the_same_request(
    videoscene: Run, video: Path, photos: Photos, tmp_path: Path
) -> None:
    copies = [Path(shutil.copy(path, tmp_path / f"copy-{path.name}")) for path in photos]
    assert "up to date" in videoscene("generate", *copies, "-o", video, *SHORT).err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--size", "80"], "size was 64, now 80"),
        (["--frames", "4"], "frames was 3, now 4"),
        (["--seed", "1"], "seed was 0, now 1"),
        (["--path", "orbit"], "path was interp, now orbit"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_another_request_is_refused_with_the_difference_and_forced_with_force(
    videoscene: Run, video: Path, photos: Photos, tmp_path: Path, change: list[str], words: str
) -> None:
    before = snapshot(tmp_path)
    command = ["generate", *photos, "-o", video, *SHORT, *change]
    ended = videoscene(*command)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert "--force" in ended.err
    assert snapshot(tmp_path) == before
    assert videoscene(*command, "--force").code == 0
    assert "up to date" in videoscene(*command).err


def test_other_photographs_and_other_weights_are_other_requests(
    videoscene: Run, video: Path, photos: Photos, tmp_path: Path
) -> None:
    assert "first was" in videoscene("generate", photos[1], photos[0], "-o", video, *SHORT).err
    (tmp_path / "new.safetensors").write_bytes(b"better weights")
    assert (
        "prior was"
        in videoscene("generate", *photos, "-o", video, *SHORT, "--weights", tmp_path / "new.safetensors").err
    )


def test_a_changed_or_foreign_result_is_not_touched_without_force(
    videoscene: Run, video: Path, photos: Photos, tmp_path: Path
) -> None:
    video.write_bytes(b"edited by hand")
    ended = videoscene("generate", *photos, "-o", video, *SHORT)
    assert ended.code == 2
    assert "has changed" in ended.err
    foreign = tmp_path / "holiday.mp4"
    foreign.write_bytes(b"somebody's video")
    assert "no manifest" in videoscene("generate", *photos, "-o", foreign, *SHORT).err
    assert (video.read_bytes(), foreign.read_bytes()) == (b"edited by hand", b"somebody's video")
    assert videoscene("generate", *photos, "-o", video, *SHORT, "--force").code == 0
    assert len(read_mp4(video)) == 3


def test_force_says_what_is_in_the_way_before_the_work(
    videoscene: Run, scene: Path, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.pipeline.render_parts", lambda *_, **__: pytest.fail("work was done"))
    (tmp_path / "folder.mp4").mkdir()
    ended = videoscene("generate", *photos, "-o", tmp_path / "folder.mp4", *SHORT, "--force")
    assert ended.code == 2
    assert "a folder is in the way" in ended.err
    (scene / "render" / "manifest.json").unlink()
    (scene / "render" / "notes.txt").write_text("mine")
    ended = videoscene("render", scene, "--frames", 3, "--force")
    assert ended.code == 2
    assert "no manifest.json" in ended.err
    assert (scene / "render" / "notes.txt").read_text() == "mine"
    assert videoscene("generate", *photos, "-o", tmp_path / "fast.mp4", *SHORT, "--fps", 2000).code == 2


def test_gaussians_of_someone_else_are_not_replaced_without_force(
    videoscene: Run, photos: Photos, tmp_path: Path
) -> None:
    foreign = tmp_path / "holiday.ply"
    foreign.write_bytes(b"somebody's scene")
    ended = videoscene("generate", *photos, "-o", tmp_path / "holiday.mp4", *SHORT)
    assert ended.code == 2
    assert "holiday.ply already exists" in ended.err
    assert foreign.read_bytes() == b"somebody's scene"


def test_a_result_that_was_removed_is_named(videoscene: Run, video: Path, photos: Photos) -> None:
    video.with_suffix(".ply").unlink()
    ended = videoscene("generate", *photos, "-o", video, *SHORT)
    assert ended.code == 2
    assert "out.ply is gone" in ended.err
    assert "--force" in ended.err


def test_a_render_of_an_earlier_prior_is_not_mixed_with_the_new_one(
    videoscene: Run, scene: Path, photos: Photos
) -> None:
    assert videoscene("prior", *reversed(photos), "-o", scene, "--size", 64, "--force").code == 0
    for command in ("generate", "reconstruct", "evaluate"):
        ended = videoscene(command, scene)
        assert ended.code == 2
        assert "of another prior" in ended.err
    assert videoscene("render", scene, "--frames", 3, "--force").code == 0
    assert "of another render" in videoscene("reconstruct", scene).err
    assert videoscene("generate", scene, "--force").code == 0
    assert videoscene("reconstruct", scene, "--dry-run").code == 0


def test_photographs_beside_a_finished_scene_do_not_hide_it(videoscene: Run, scene: Path, photos: Photos) -> None:
    shutil.copy(photos[0], scene / "left.png")
    shutil.copy(photos[1], scene / "right.png")
    assert videoscene("reconstruct", scene, "--dry-run").code == 0


def test_two_scenes_of_one_name_are_not_evaluated_into_one_place(videoscene: Run, scene: Path, tmp_path: Path) -> None:
    other = shutil.copytree(scene, tmp_path / "more" / "scene")
    ended = videoscene("evaluate", scene, other, "-o", tmp_path / "figures")
    assert ended.code == 2
    assert "two results in one place" in ended.err


def test_the_photographs_may_not_be_lost_to_the_inputs_folder(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    (tmp_path / "scene" / "inputs").mkdir(parents=True)
    mine = Path(shutil.copy(photos[0], tmp_path / "scene" / "inputs" / "mine.png"))
    ended = videoscene("prior", mine, photos[1], "-o", tmp_path / "scene", "--size", 64)
    assert ended.code == 2
    assert "mine.png" in ended.err
    assert mine.exists()


def test_a_damaged_scene_is_not_rendered(videoscene: Run, scene: Path) -> None:
    (scene / "inputs" / "0.png").write_bytes((scene / "inputs" / "1.png").read_bytes())
    ended = videoscene("render", scene, "--frames", 2, "--force")
    assert ended.code == 2
    assert "0.png has changed" in ended.err


def test_a_prior_that_does_not_say_which_photograph_its_gaussians_come_from_is_not_rendered(
    videoscene: Run, scene: Path
) -> None:
    """Such as one of an earlier version."""
    path, ply = scene / "prior" / "manifest.json", scene / "prior" / "gaussians.ply"
    manifest = manifest_of(path)
    ply.write_bytes(ply.read_bytes().replace(b"comment photographs 6144 0\n", b""))
    for output in manifest["outputs"]:
        if output["path"] == ply.name:
            output["sha256"] = hashlib.sha256(ply.read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest))
    ended = videoscene("render", scene, "--frames", 2, "--force")
    assert ended.code == 2
    assert "which photograph" in ended.err
    assert "--force" in ended.err


def test_render_into_a_new_scene_leaves_the_first_alone(videoscene: Run, scene: Path, tmp_path: Path) -> None:
    before = snapshot(scene)
    ended = videoscene("render", scene, "--path", "orbit", "--frames", 2, "--fps", 4, "-o", tmp_path / "around")
    assert (ended.code, ended.out) == (0, f"{tmp_path / 'around'}\n")
    assert snapshot(scene) == before
    assert videoscene("generate", tmp_path / "around").code == 0
    assert len(read_mp4(tmp_path / "around" / "generate" / "video.mp4")) == 2


@pytest.mark.parametrize("command", ["render", "generate", "reconstruct"])
def test_the_stages_of_another_pair_are_not_replaced(
    videoscene: Run, scene: Path, photos: Photos, tmp_path: Path, command: str
) -> None:
    other = tmp_path / "other"
    assert videoscene("prior", *reversed(photos), "-o", other, "--size", 64).code == 0
    before = snapshot(other)
    options = {"render": ("--frames", 2), "generate": (), "reconstruct": ("--steps", 2, "--gaussians", 1000)}[command]
    for dry in ((), ("--dry-run",)):
        ended = videoscene(command, scene, *options, "-o", other, *dry)
        assert ended.code == 2
        assert "inputs would be replaced" in ended.err
        assert "--force" in ended.err
    assert snapshot(other) == before
    assert videoscene(command, scene, *options, "-o", other, "--force").code == 0
    assert (other / "inputs" / "0.png").read_bytes() == (scene / "inputs" / "0.png").read_bytes()


def test_another_prior_of_the_same_pair_is_not_replaced_either(
    videoscene: Run, scene: Path, photos: Photos, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert videoscene("prior", *photos, "-o", other, "--size", 64, "--seed", 1).code == 0
    ended = videoscene("render", scene, "--frames", 2, "-o", other)
    assert ended.code == 2
    assert "prior would be replaced" in ended.err
    assert videoscene("prior", *photos, "-o", other, "--size", 64, "--force").code == 0
    assert videoscene("render", scene, "--frames", 2, "-o", other).code == 0


def test_a_manifest_of_something_else_is_no_result(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    folder = tmp_path / "scene" / "prior"
    folder.mkdir(parents=True)
    for foreign in ({"outputs": []}, {"fingerprint": "", "outputs": []}, [], {"name": "a web page"}):
        (folder / "manifest.json").write_text(json.dumps(foreign))
        ended = videoscene("prior", *photos, "-o", tmp_path / "scene", "--size", 64)
        assert ended.code == 2
        assert "not a manifest of this program" in ended.err


def test_a_name_with_brackets_is_a_name(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    video = tmp_path / "room [1].mp4"
    assert videoscene("generate", *photos, "-o", video, *SHORT).code == 0
    (tmp_path / f"{video.name}.json").rename(tmp_path / f".{video.name}.json.partial-999999999-00000000")
    assert videoscene("generate", *photos, "-o", video, *SHORT).code == 0


def test_a_path_from_a_file_renders_its_cameras_at_the_scenes_size(
    videoscene: Run, scene: Path, tmp_path: Path
) -> None:
    path = scene / "prior" / "transforms.json"
    assert videoscene("render", scene, "--path", path, "-o", tmp_path / "twice").code == 0
    made, _ = read_transforms(tmp_path / "twice" / "render" / "transforms.json")
    given, _ = read_transforms(path)
    assert (made.size, len(made)) == ((64, 96), 2)
    assert made.c2w.allclose(given.c2w, atol=1e-6)
    assert made.K.allclose(given.K, atol=1e-6)
