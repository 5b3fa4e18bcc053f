"""All phases of `distill` at tiny size on CUDA against the CPU, a resumed run, one step of leap flow at full size."""

import contextlib
import gc
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from stages.distill.leap_flow import leap_flow_loss
from stages.distill.model import cogvideox_model
from stages.distill.phases import RunContext, finished, train_phase
from stages.distill.policy_training import train_policy
from stages.distill.training_loop import Trainer
from stages.training import adamw
from stages.video.cogvideox_memory import Memory
from stages.video.cogvideox_network import TRANSFORMER_5B, VAE_5B
from tests.distill.tiny import setting, small, write_shards
from tests.gpu.findings import Findings
from tests.tools.benchmark_cogvideox import random_model
from tests.video.tiny import TRANSFORMER, VAE

CPU = torch.device("cpu")
PHASES = ("teacher", "regression", "student")
MOST = 0.05  # of a weight's norm, after four steps: Adam's first steps follow the sign of gradients near zero

Weights = dict[str, dict[str, Tensor]]


def check(findings: Findings) -> None:
    with tempfile.TemporaryDirectory() as name:
        findings.attempt("all phases", lambda: _phases(findings, Path(name)))
    for batch in (1,) if findings.dry else (1, 2):
        findings.attempt(f"one step, batch {batch}", lambda b=batch: _step(findings, b))
        if findings.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()


def _phases(findings: Findings, folder: Path) -> None:
    shards = write_shards(folder / "clips")
    here, there = _run(folder / "cpu", shards, CPU), _run(folder / "gpu", shards, findings.device)
    resumed = _run(folder / "resumed", shards, findings.device, killed_in="student")
    for phase in here:
        wrong = _difference(there[phase], here[phase])
        findings.tell(f"{phase}: weights against the CPU's", f"{wrong:.1e} of their norm", wrong < MOST)
    wrong = max(_difference(resumed[phase], there[phase]) for phase in here)
    findings.tell("killed in the student's phase and resumed", f"{wrong:.1e} of their norm", wrong < MOST)


def _run(folder: Path, shards: list[Path], device: torch.device, killed_in: str | None = None) -> Weights:
    def made() -> RunContext:
        model = small()
        model.network.to(device)
        return replace(setting(folder, shards, model=model), device=device)

    weights: Weights = {}
    for phase in PHASES:
        if phase == killed_in:
            with _killed_at_the_first_checkpoint():
                train_phase(made(), phase, _quiet)
        train_phase(made(), phase, _quiet)
        weights[phase] = finished(made(), phase)
    return weights | {"policy": train_policy(made(), _quiet, _quiet)[0]}


def _quiet(done: int, total: int) -> None:
    pass


@contextlib.contextmanager
def _killed_at_the_first_checkpoint() -> Iterator[None]:
    save = Trainer._save

    def save_and_die(trainer: Trainer) -> None:
        save(trainer)
        raise KeyboardInterrupt

    with mock.patch.object(Trainer, "_save", save_and_die), contextlib.suppress(KeyboardInterrupt):
        yield


def _difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest difference of a weight, relative to its norm."""
    pairs = [(ours[name].cpu(), theirs[name].cpu()) for name in theirs]
    return max(float((a - b).norm() / b.norm().clamp_min(1e-3)) for a, b in pairs)


def _step(findings: Findings, batch: int) -> None:
    """One optimiser step of leap flow, with the average of the weights and a frozen copy as the recipe has them."""
    dry = findings.dry
    configs = (TRANSFORMER, VAE) if dry else (TRANSFORMER_5B, VAE_5B)
    backbone = random_model(findings.device, Memory(torch.float32 if dry else torch.bfloat16), *configs)
    backbone.autocast = None if dry else torch.bfloat16
    model = cogvideox_model(backbone)
    model.network.train()
    weights = model.weights
    for weight in weights.values():
        weight.requires_grad_(True)
    average, frozen = ({name: weight.detach().clone() for name, weight in weights.items()} for _ in range(2))
    optimiser = adamw(weights.values(), 3e-5, 0.0)
    shape = (batch, 3, 16, 4, 6) if dry else (batch, 13, 16, 60, 90)
    z, condition, noise = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)).to(findings.device)
    t = torch.full((batch,), 459, device=findings.device)

    def step() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        loss, _ = leap_flow_loss(model, model.at(average), model.at(frozen), z, condition, t, t - 20, noise)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
        optimiser.step()
        for name, weight in weights.items():
            average[name].lerp_(weight.detach(), 0.05)
        return norm

    took = findings.timed(step, 2)
    trained = sum(weight.numel() for weight in weights.values()) / 1e9
    told = f"{took.seconds:.2f} s, {took.gib:.1f} GiB, {trained:.2f} billion weights, gradient {float(took.result):.1e}"
    findings.tell(f"one step, batch {batch}", told, bool(took.result.isfinite()))
