"""What test_pretended_cuda.py runs on the pretended device: every command, and calls with CUDA tensors."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from stages.distill import prior_worlds
from stages.distill.model import cogvideox_model
from stages.distill.phases import train_phase
from stages.distill.recipe_file import Config, Data, StudentRecipe, TeacherRecipe
from stages.evaluate import method_prior
from stages.prior import matching
from stages.prior.load import load_prior
from stages.prior.predict import predict_in_range
from stages.reconstruct import Settings, gather, initial_gaussians
from stages.reconstruct.merge import thin
from stages.reconstruct.optimise import reconstruct
from stages.scene import Cameras, Gaussians, Views
from stages.splat import draw, gsplat_kernels
from stages.splat.dispatch import rasterization
from stages.video import schedule, small_codec
from stages.video.cogvideox_files import StudentFiles, find_files, load_cogvideox
from stages.video.cogvideox_memory import MODES, Memory
from stages.video.cogvideox_student import StepSettings, student
from stages.video.small_files import load_small, read_config
from stages.video.small_student import small_student
from tests.cli.program import fake_prior
from tests.distill import tiny, tiny_prior
from tests.evaluate.conftest import CACHED, wall_cameras, write_wall
from tests.pretend import device
from tests.pretend.device import OnCuda, PretendedDevice, Refused, Uncounted
from tests.splat.scenes import random_scene
from tests.video.test_small_student import scene as small_scene
from tests.video.tiny import TRANSFORMER, VAE, save_student
from tests.video.tiny import scene as tiny_scene
from videoscene_cli import app
from videoscene_cli.results.manifest import Record

ROOT = Path(__file__).resolve().parents[2]
ROOMS = [ROOT / "examples" / f"room_{index}.jpg" for index in (0, 1)]
WEIGHTS = ROOT / "stages" / "weights" / "small"
SMALL = ("--size", 64, "--frames", 5)
COPIES = Path(__file__).parent / "copies.txt"
CUDA = torch.device("cuda")
# Functions that keep what they have loaded or put on a device.
KEPT = (gsplat_kernels.are_loaded, matching.load_matcher, schedule._tables, small_codec._matrices, *CACHED)
drawn: list[int] = []
"""Number of Gaussians in each call of gsplat."""


def gsplat(*gaussians_and_cameras: Any, **options: Any) -> tuple[Tensor, Tensor, None]:
    """gsplat's renderer, as strict as its kernels and computed by our own."""
    *tensors, width, height = gaussians_and_cameras
    for tensor in tensors:
        if not isinstance(tensor, OnCuda) or tensor.dtype != torch.float32:
            raise Refused(f"gsplat: {tensor.dtype} on {tensor.device}")
    if len(tensors[0]) == 0:
        raise Refused("gsplat 1.5.3 divides by the number of Gaussians")
    drawn.append(len(tensors[0]))
    with_cpu = [Uncounted.apply(tensor) for tensor in tensors]
    image, alpha = rasterization(*with_cpu, width, height, options["near_plane"])
    return Uncounted.apply(image), Uncounted.apply(alpha), None


@pytest.fixture(autouse=True)
def _on_the_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("VIDEOSCENE_WEIGHTS", raising=False)
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", SimpleNamespace(_C=object()))
    monkeypatch.setattr("gsplat.rendering.rasterization", gsplat)
    monkeypatch.setattr(matching, "SHORT_SIDE", 192)  # fast, and enough for the example
    for cached in KEPT:
        cached.cache_clear()
    drawn.clear()
    device.copies.clear()
    with PretendedDevice():
        yield
    for cached in KEPT:
        cached.cache_clear()


Run = Callable[..., str]


@pytest.fixture
def on_cuda(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run one command line that must succeed, and return what it printed on stderr."""

    def run(*arguments: object) -> str:
        code = app.run([*map(str, arguments), "--device", "cuda", "-v"])
        err = capfd.readouterr().err
        assert code == 0, err
        return err

    return run


@pytest.fixture
def flat_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prior that needs no time: flat Gaussians of the first photograph, none of the second."""
    for name, function in fake_prior().items():
        monkeypatch.setattr(name, function)
    monkeypatch.setattr(initial_gaussians, "predict", fake_prior()["stages.pipeline.predict"])
    for module in (method_prior, initial_gaussians):
        monkeypatch.setattr(module, "match_views", lambda views: (views, torch.tensor([[1.5, 6.0]] * 2)))


# The commands.


@pytest.mark.usefixtures("flat_prior")
def test_generate_makes_the_same_video_with_and_without_nvcc(
    on_cuda: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without nvcc Gaussians are drawn on the CPU, and one warning says so."""
    said = on_cuda("generate", *ROOMS, "-o", tmp_path / "with.mp4", *SMALL)
    assert drawn
    assert "warning:" not in said
    drawn.clear()
    gsplat_kernels.are_loaded.cache_clear()
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", SimpleNamespace(_C=None))
    said = on_cuda("generate", *ROOMS, "-o", tmp_path / "without.mp4", *SMALL)
    assert not drawn
    assert said.count("warning:") == 1, said
    assert "nvcc" in said
    assert (tmp_path / "with.mp4").read_bytes() == (tmp_path / "without.mp4").read_bytes()


def test_copies_between_the_devices_are_those_of_the_list(
    on_cuda: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command makes the copies that COPIES lists for each of its stages, and no others."""
    rows: list[str] = []
    time_stage = Record.stage

    @contextmanager
    def count_in_stage(record: Record, stage: str) -> Iterator[None]:
        take("between stages")
        with time_stage(record, stage):
            yield
        take(stage)

    def take(stage: str) -> None:
        rows.extend(f"  {stage}: {way}, {place}, {count}" for (way, place), count in sorted(device.copies.items()))
        device.copies.clear()

    monkeypatch.setattr(Record, "stage", count_in_stage)

    def run(*arguments: object) -> None:
        rows.append(str(arguments[0]))
        on_cuda(*arguments)
        take("between stages")

    run("generate", *ROOMS, "-o", tmp_path / "video.mp4", *SMALL)
    scene = tmp_path / "scene"
    run("prior", *ROOMS, "-o", scene, "--size", 64)
    run("render", scene, "--frames", 5)
    run("generate", scene)
    exports = ("--export", "splat", "--export", "compressed-ply", "--export", "html")
    run("reconstruct", scene, "--steps", 2, "--gaussians", 2000, "--refine-poses", *exports)
    run("evaluate", scene, "-o", tmp_path / "report")
    counted = tmp_path / COPIES.name
    counted.write_text("\n".join([*COPIES.read_text().split("\n\n")[:1], "", *rows, ""]))
    assert counted.read_text() == COPIES.read_text(), f"if the change is meant: cp {counted} {COPIES}"


@pytest.mark.usefixtures("flat_prior")
def test_evaluate_runs_every_method(on_cuda: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STEPS", "STEPS_OF_A_CLIP", "STEPS_OF_A_PAIR"):
        monkeypatch.setattr(f"stages.reconstruct.{name}", 2)
    names = ("crossfade", "nearest", "plane-sweep", "render", "generate", "photographs", "refined", "render-unposed")
    asked = [part for name in names for part in ("--method", name)]
    case = {"kind": "medium", "context": [0, 2], "target": [1]}
    wall = write_wall(tmp_path / "scenes" / "wall", 3, [case])
    on_cuda("evaluate", "--two-view", wall, *asked, "-o", tmp_path / "out", "--keep")
    rendered = len(drawn)
    assert rendered > 10
    on_cuda("reconstruct", wall, "--steps", 2, "--size", 64, "-o", tmp_path / "posed")
    assert len(drawn) > rendered


def test_the_student_is_distilled_in_every_phase(on_cuda: Run, tmp_path: Path) -> None:
    tiny.write_shards(tmp_path / "clips")
    phase = tiny.COMMON | {"steps": 2, "every": 2}
    recipe: dict[str, Any] = {
        "network": tiny.NETWORK,
        "data": {"frames": 5, "size": [16, 32]},
        "teacher": {**phase, "picture": 1.0, "accumulate": 2},
        "regression": phase,
        "student": {**phase, "batch": 2},
        "policy": {**phase, "clips": 4, "held_out": 0.5, "grid": [99, 299], "width": 8},
    }
    for precision, phases in (("float32", "all"), ("bfloat16", "teacher")):
        config = tmp_path / f"{precision}.yaml"
        config.write_text(yaml.safe_dump(recipe | {"precision": precision}))
        command = ("distill", "-o", tmp_path / precision, "--config", config, "--clips", tmp_path / "clips")
        on_cuda(*command, "--phase", phases)


def test_the_prior_is_trained_in_every_phase(on_cuda: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Noise:
        def write(self, folder: Path, number: int) -> Path:
            return tiny_prior.random_shard(folder / f"{number:05d}.safetensors", number, size=(32, 64))

    monkeypatch.setattr(prior_worlds, "load_pair_worlds", lambda data, seed: Noise())
    phase = {"steps": 1, "every": 1, "warmup": 0}
    data = {"pairs": 2, "scenes": 2, "sizes": [[32, 64]]}
    recipe = {"model": "small-prior", "data": data, "monocular": phase, "prior": phase}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    on_cuda("distill", "-o", tmp_path / "run", "--config", tmp_path / "recipe.yaml")
    assert drawn


# CogVideoX.


@pytest.fixture
def files(tmp_path: Path) -> StudentFiles:
    folder = tmp_path / "student"
    save_student(folder)
    return find_files(folder, tmp_path / "no cache")


def test_cogvideox_repairs_a_clip_in_every_mode(files: StudentFiles) -> None:
    """All give the same frames, tiles apart, which are larger than the frames here."""
    clip, views = tiny_scene()
    repaired = {}
    for mode, memory in MODES.items():
        untiled = replace(memory, dtype=torch.bfloat16, tiling=False)
        model, _ = load_cogvideox(files, CUDA, untiled, None, TRANSFORMER, VAE)
        repaired[mode] = student(model, StepSettings())(clip.to(CUDA), views.to(CUDA)).frames
        assert repaired[mode].is_cuda
    assert all(torch.equal(repaired["full"], other) for other in repaired.values())
    assert student(model, StepSettings(steps=2))(clip, views).frames.device.type == "cpu"


def test_cogvideox_is_distilled(files: StudentFiles, tmp_path: Path) -> None:
    two = tiny.COMMON | {"steps": 2, "every": 2}
    config = Config(
        model="cogvideox-5b",
        precision="bfloat16",
        data=Data(frames=9, size=(32, 48)),
        teacher=TeacherRecipe(**two, renders=0.0, cap=None),  # type: ignore[arg-type]
        student=StudentRecipe(**two, gap_share=0.0, latent=0.5, picture=0.5),  # type: ignore[arg-type]
    )
    shards = tiny.write_shards(tmp_path / "clips", (32, 48), 9)
    for phase in ("teacher", "student"):
        loaded, _ = load_cogvideox(files, CUDA, Memory(torch.bfloat16), torch.bfloat16, TRANSFORMER, VAE)
        context = tiny.setting(tmp_path / "run", shards, config, cogvideox_model(loaded))
        train_phase(replace(context, device=CUDA), phase, lambda done, total: None)  # type: ignore[arg-type]


# The stages, called with CUDA tensors.


def gaussians(count: int = 50) -> Gaussians:
    given = random_scene(count=count, degree=0).arguments()
    photograph = torch.arange(count).ge(count // 2).byte()
    names = ("means", "scales", "quats", "opacities", "sh")
    return Gaussians(*(given[name].float() for name in names), photograph).to(CUDA)


def test_gaussians_of_both_devices_are_refused() -> None:
    """The pretended device does its work."""
    with pytest.raises(Refused):
        _ = torch.ones(3, device=CUDA) + torch.ones(3)
    with pytest.raises(Refused):
        torch.randn(3, device=CUDA, generator=torch.Generator())
    with pytest.raises(Refused):
        torch.ones(3, device=CUDA).numpy()


def test_no_gaussians_and_gradients_through_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cameras = Cameras(torch.eye(4)[None], torch.tensor([[[50.0, 0, 24], [0, 50, 16], [0, 0, 1]]]), (32, 48))
    scene = gaussians()
    assert not draw(scene[:0], cameras).alpha.any()
    gsplat_kernels.are_loaded.cache_clear()
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", SimpleNamespace(_C=None))
    means = scene.means.clone().requires_grad_()
    with pytest.warns(RuntimeWarning, match="nvcc"):
        image = draw(replace(scene, means=means), cameras).image
    (gradient,) = torch.autograd.grad(image.sum(), means)
    assert image.is_cuda
    assert gradient.is_cuda
    assert gradient.any()


def test_a_clip_without_coverage_is_reconstructed() -> None:
    clip, views = tiny_scene()
    for on_gpu in (views.to(CUDA), views):
        targets = gather(on_gpu, replace(clip, coverage=None).to(CUDA))
        assert targets.images.is_cuda
        assert targets.weight.is_cuda
    assert reconstruct(gaussians(), targets, Settings(steps=1)).gaussians.means.is_cuda


def test_many_gaussians_are_merged_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuSOLVER refuses more than about 32,000 matrices."""
    decompose, counts = torch.linalg.eigh, []

    def noted(matrices: Tensor) -> Any:
        counts.append(len(matrices))
        return decompose(matrices)

    monkeypatch.setattr("stages.reconstruct.merge.EIGEN_BATCH", 7)
    monkeypatch.setattr(torch.linalg, "eigh", noted)
    thinned, _ = thin(gaussians(), wall_cameras(2), 20)
    assert max(counts) <= 7
    assert 0 < len(thinned) <= 20


# An Apple GPU: networks there, everything else on the CPU.


def test_networks_need_no_float64() -> None:
    """The device has another name here, but lacks the same type."""

    views = Views(torch.rand(2, 3, 48, 64), wall_cameras(2))
    config, _ = read_config(WEIGHTS / "config.yaml")
    with PretendedDevice(float64=False):
        network = load_prior(WEIGHTS / "prior.safetensors", CUDA)
        prediction = predict_in_range(views, torch.tensor([[1.0, 5.0]] * 2), network)
        network = load_small(WEIGHTS / "student.safetensors", config).to(CUDA)
        assert small_student(network, 459)(*small_scene(5, (16, 32))).frames.device.type == "cpu"
    assert prediction.gaussians.means.device.type == "cpu"
