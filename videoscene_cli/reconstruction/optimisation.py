"""The optimisation of `reconstruct`: its options, its checkpoints and its messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoscene_cli.models.session import Session
from videoscene_cli.reconstruction.inputs import Inputs, Source
from videoscene_cli.results.manifest import Record

if TYPE_CHECKING:
    from stages.reconstruct import Reconstruction

MESSAGE_EVERY = 50  # number of steps between two lines of --verbose


@dataclass(frozen=True)
class Refinement:
    """The options --steps, --gaussians, --refine-poses and --export. moves: see `Settings`."""

    steps: int
    gaussians: int
    moves: bool
    refine_poses: bool
    exports: tuple[str, ...]

    def options(self, seed: int) -> dict[str, Any]:
        """The options that decide the result."""
        exports = {"export": ",".join(self.exports)} if self.exports else {}
        return {
            "steps": self.steps,
            "gaussians": self.gaussians,
            "refine_poses": self.refine_poses,
            "seed": seed,
            **exports,
        }


def refine(
    source: Source, settings: Refinement, checkpoint: Path, session: Session, record: Record
) -> tuple[Inputs, Reconstruction]:
    """Optimise a scene, from its inputs or from the checkpoint of the same request."""
    from stages.pipeline import refine_gaussians
    from stages.reconstruct import Settings, load_checkpoint, save_checkpoint
    from stages.reconstruct.quality import outlier_frames, quality

    # Load the inputs and the checkpoint.
    with record.stage("start"), session.report.progress("starting"):
        inputs = source.load(session)
        state = load_checkpoint(checkpoint, source.request.fingerprint, session.home)
    if state is not None:
        session.report.note(f"going on from step {state.step} of {settings.steps}")
    # Optimise.
    with record.stage("reconstruct"), session.report.progress("reconstruct") as advance:

        def report_step(step: int, total: int, loss: float, psnr: float) -> None:
            advance(step, total, f"reconstruct: loss {loss:.3f}, PSNR {psnr:.1f} dB")
            if step % MESSAGE_EVERY == 0:
                session.report.detail(f"step {step} of {total}: loss {loss:.4f}, PSNR {psnr:.2f} dB")

        refinement = Settings(
            settings.steps,
            gaussians=settings.gaussians,
            moves=settings.moves,
            refine_poses=settings.refine_poses,
            seed=session.shared.seed,
        )
        start = inputs.gaussians.to(session.home)
        result = refine_gaussians(
            start, inputs.views, inputs.clip, refinement, state, report_step,
            lambda state: save_checkpoint(checkpoint, state, source.request.fingerprint),
        )  # fmt: skip
    # Measure the scene before and after.
    with record.stage("measure"):
        before = quality(start, result.targets, result.targets.cameras)
        after = quality(result.gaussians, result.targets, result.cameras)
    disagreeing = outlier_frames(result.losses, result.targets.photographs, refinement.tolerance)
    record.facts |= {"gaussians": len(result.gaussians), "doubted": disagreeing}
    record.facts["psnr"] = {"before": before, "after": after}
    return inputs, result
