"""`evaluate --benchmark A B -o OUT`: seconds and peak memory of each stage (the paper's Tables 6 and 7).

Each stage runs in its own process, so its memory is measured alone and its first run finds nothing loaded. This cold
run includes imports, weights and reading the result of the stage before. A warm run is the stage alone.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from stages.errors import InputError
from videoscene_cli.evaluation.methods import Setup
from videoscene_cli.models.allocator import keep_freed_memory
from videoscene_cli.models.session import Session
from videoscene_cli.models.video_student import AUTO, VideoStudent
from videoscene_cli.results.manifest import peak_memory, versions

if TYPE_CHECKING:
    import torch


WARM = 2  # number of runs after the cold one; the fastest counts

PROTOCOL = {
    "name": "benchmark",
    "version": 1,
    "cold": "seconds of the first run in a new process: imports, weights, reading its input, the stage",
    "warm": f"seconds of the stage alone, the faster of {WARM} runs after the cold one",
    "peak memory": "most resident memory of the stage's process in all runs; on CUDA also the most that torch used",
    "total": "sum over the stages",
}


@dataclass(frozen=True)
class Workload:
    """What is timed.

    size: short side in pixels.  frames: of the clip.  steps: of reconstruct, as many as a repaired clip gets.
    """

    size: int = 256
    frames: int = 49
    steps: int = 48


@dataclass(frozen=True)
class Task:
    """The work of one process, which times a stage. folder: where a stage leaves its result for the next one."""

    photographs: tuple[Path, Path]
    folder: Path
    setup: Setup
    workload: Workload

    @cached_property
    def session(self) -> Session:
        """The session of this process."""
        return self.setup.session()


def benchmark(
    photographs: list[Path], out: Path, setup: Setup, session: Session, workload: Workload | None = None
) -> None:
    """Time every stage, print a line for each and write OUT/benchmark.json.

    Raises InputError unless there are two photographs.
    """
    from stages.files.publish import write_json

    workload = workload or Workload()
    if len(photographs) != 2:
        usage = "videoscene evaluate --benchmark left.jpg right.jpg -o FOLDER"
        raise InputError("bad usage", f"{len(photographs)} photographs for --benchmark, which takes two", usage)
    stages = [stage for stage in STAGES if stage != "generate" or setup.student != "none"]
    if session.shared.dry_run:
        plan = {"stages": stages, **asdict(workload), "out": str(out)}
        return session.report.plan(plan)
    figures: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory() as folder, session.report.progress("benchmark") as advance:
        task = Task((photographs[0], photographs[1]), Path(folder), setup, workload)
        for index, stage in enumerate(stages):
            figures[stage] = in_new_process(time_stage, stage, task)
            _print(stage, figures[stage], session)
            advance(index + 1, len(stages))
    total = {kind: round(sum(stage[kind] for stage in figures.values()), 3) for kind in ("cold", "warm")}
    total["peak_memory_bytes"] = max(stage["peak_memory_bytes"] for stage in figures.values())
    _print("total", total, session)
    document = {"protocol": PROTOCOL, "machine": machine(session), "workload": asdict(workload)}
    write_json(out / "benchmark.json", document | {"stages": figures, "total": total})
    session.report.done(str(out / "benchmark.json"), False, command="evaluate")


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process, and return its result."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def time_stage(name: str, task: Task) -> dict[str, Any]:
    """The seconds of one stage, cold and warm, and the peak memory of this process."""
    start = time.perf_counter()
    keep_freed_memory()
    session = task.session
    session.start()
    run, save = STAGES[name](task)
    result, seconds = run(), []
    _wait(session.device)
    cold = time.perf_counter() - start
    for _ in range(WARM):
        start = time.perf_counter()
        run()
        _wait(session.device)
        seconds.append(time.perf_counter() - start)
    memory = {"peak_memory_bytes": peak_memory()}  # Read before saving, which does not belong to the stage.
    if session.device.type == "cuda":
        import torch

        memory["peak_cuda_bytes"] = torch.cuda.max_memory_allocated(session.device)
    save(result)
    return {"cold": round(cold, 3), "warm": round(min(seconds), 3), **memory}


def machine(session: Session) -> dict[str, Any]:
    """The machine of the figures: processor, cores, memory, device, versions."""
    import torch

    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cuda = session.device.type == "cuda"
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "device": torch.cuda.get_device_name(session.device) if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


# The function that is timed, and one that saves its result for the next stage.
Stage = tuple[Callable[[], Any], Callable[[Any], None]]


def _cameras(task: Task) -> Stage:
    from stages.files.clip_folder import write_views
    from stages.files.publish import write_json
    from stages.pipeline import find_views

    def save(prepared: Any) -> None:
        write_views(task.folder / "views", prepared.views)
        matched = {"near_far": prepared.near_far.tolist(), "points": prepared.views.points.tolist()}
        write_json(task.folder / "matched.json", matched)

    return lambda: find_views(task.photographs, task.workload.size, device=task.session.home), save


def _prior(task: Task) -> Stage:
    import torch

    from stages.files.clip_folder import read_views, write_views
    from stages.files.documents import read_json
    from stages.files.ply import write_ply
    from stages.pipeline import CoarseScene, predict_gaussians

    matched = read_json(task.folder / "matched.json")
    near_far, points = torch.tensor(matched["near_far"]), torch.tensor(matched["points"]).view(-1, 3)
    views = replace(read_views(task.folder / "views"), points=points).to(task.session.home)

    def save(scene: CoarseScene) -> None:
        write_ply(task.folder / "gaussians.ply", scene.gaussians, comments=[])
        write_views(task.folder / "prior", scene.views)

    return lambda: predict_gaussians(views, near_far, task.session.network), save


def _render(task: Task) -> Stage:
    from stages.files.clip_folder import read_views, write_clip
    from stages.files.ply import read_ply
    from stages.pipeline import render_path
    from stages.trajectory import along

    gaussians = read_ply(task.folder / "gaussians.ply").to(task.session.home)
    views = read_views(task.folder / "prior").to(task.session.home)
    path = along("interp", views.cameras, gaussians.means, task.workload.frames)
    return lambda: render_path(gaussians, views, path), lambda clip: write_clip(task.folder / "render", clip)


def _generate(task: Task) -> Stage:
    from stages.files.clip_folder import read_clip, read_views, write_clip
    from stages.pipeline import repair_clip

    home = task.session.home
    clip, views = read_clip(task.folder / "render").to(home), read_views(task.folder / "prior").to(home)
    student = VideoStudent(task.setup.student, AUTO, task.session)
    return lambda: repair_clip(clip, views, student.step), lambda clip: write_clip(task.folder / "generate", clip)


def _reconstruct(task: Task) -> Stage:
    from stages.exposure import estimate_exposure
    from stages.files.clip_folder import read_clip, read_views
    from stages.files.ply import read_ply
    from stages.pipeline import refine_gaussians
    from stages.reconstruct import Settings
    from stages.render import one_cloud

    clip = read_clip(task.folder / ("generate" if (task.folder / "generate").is_dir() else "render"))
    gaussians = read_ply(task.folder / "gaussians.ply").to(task.session.home)
    views = read_views(task.folder / "prior").to(task.session.home)
    cloud = one_cloud(gaussians, views, estimate_exposure(views))
    settings = Settings.of_a_cloud(task.workload.steps, task.setup.shared.seed)
    return lambda: refine_gaussians(cloud, views, clip, settings), lambda result: None


def _video(task: Task) -> Stage:
    from stages.files.clip_folder import read_clip
    from stages.files.video import write_mp4

    frames = read_clip(task.folder / "render").frames
    return lambda: write_mp4(task.folder / "video.mp4", frames, 8.0), lambda result: None


STAGES: dict[str, Callable[[Task], Stage]] = {
    "cameras": _cameras,
    "prior": _prior,
    "render": _render,
    "generate": _generate,
    "write the video": _video,
    "reconstruct": _reconstruct,
}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def _print(stage: str, figures: dict[str, Any], session: Session) -> None:
    memory = figures["peak_memory_bytes"] / 2**20
    text = f"{stage:16s} cold {figures['cold']:8.2f} s  warm {figures['warm']:8.2f} s  {memory:6.0f} MiB"
    session.report.data(text, {"stage": stage, **figures})
