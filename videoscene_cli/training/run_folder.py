"""A run of `distill` and its folder runs/NAME, for students and priors."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stages.errors import DeviceError
from videoscene_cli.models.session import Session
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.request import Request

if TYPE_CHECKING:
    import torch

    from stages.distill.recipe_file import Config, Phase
    from stages.distill.workers import Workers

# The folder in runs/NAME/weights for the weights of each phase.
FOLDERS = {
    **{"monocular": "monocular", "prior": "prior"},
    **{"teacher": "teacher", "regression": "regression", "student": "student", "policy": "full"},
}


@dataclass(frozen=True)
class Run(ABC):
    """One run of `distill`. run: its folder.  clips: folders to train on; if empty, those of the config."""

    run: Path
    config: Config
    clips: tuple[str, ...]
    session: Session

    @abstractmethod
    def planned_clips(self) -> list[str]:
        """The training data in words, for the plan of --dry-run."""

    @abstractmethod
    def request(self, phase: Phase) -> Request:
        """Everything that decides the weights of a phase, except the clips."""

    @abstractmethod
    def require_start(self, phases: Sequence[Phase]) -> None:
        """Raise, before --force removes anything, errors that would come later, such as an unfinished earlier phase."""

    @abstractmethod
    def descendants(self, phase: Phase) -> list[Phase]:
        """The phases that start, directly or not, from the weights of a phase. The last ones come first."""

    @abstractmethod
    def train(self, phase: Phase, record: Record) -> None:
        """Train a phase to its end, from its newest checkpoint if there is one, and publish its weights."""

    @cached_property
    def workers(self) -> Workers:
        """This process, and those beside it when torchrun or `accelerate launch` started several: one per GPU."""
        import torch

        from stages.distill.workers import Workers, join_workers

        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return Workers()
        device = self.session.device
        return join_workers(torch.device("cuda", int(os.environ["LOCAL_RANK"])) if device.type == "cuda" else device)

    @property
    def device(self) -> torch.device:
        """The device on which this process trains. Raises DeviceError for a GPU of Apple."""
        device = self.workers.device or self.session.device
        if device.type == "mps":
            raise DeviceError("no training on mps", "a step needs float64 beside the network", "use --device cpu")
        return device

    def note(self, text: str) -> None:
        """Print a message once, whatever the number of processes."""
        if self.workers.rank == 0:
            self.session.report.note(text)

    def note_checkpoint(self, phase: Phase) -> None:
        """Say from which step a stopped phase goes on."""
        from stages.distill.training_loop import newest

        checkpoint = newest(self.run, phase)
        if checkpoint is not None:
            steps = getattr(self.config, phase).steps
            self.note(f"{phase}: going on from step {int(checkpoint.name[5:])} of {steps}")

    def weights(self, phase: Phase) -> Path:
        """The folder with the weights of a phase. That of the policy also holds the student."""
        return self.run / "weights" / FOLDERS[phase]

    def forget(self, phase: Phase) -> None:
        """Remove the results of a phase, for --force, and before that those of its descendants."""
        from stages.files.leftovers import remove

        for name in (*self.descendants(phase), phase):
            remove(self.weights(name))
            remove(self.run / "checkpoints" / name)

    def note_config(self) -> None:
        """Write config.yaml with all settings."""
        import yaml

        from stages.files.publish import publish

        with publish(self.run / "config.yaml") as partial:
            partial.write_text(yaml.safe_dump(self.config.to_dict(), sort_keys=False), encoding="utf-8")

    def conclude(self) -> None:
        """Write the run's manifest.json with the finished phases and their weights, unless it is up to date."""
        from stages.files.documents import read_json
        from stages.files.publish import publish

        folders = {name: self.run / "weights" / name for name in FOLDERS.values()}
        manifests = {name: read_json(path / "manifest.json") for name, path in folders.items() if path.is_dir()}
        fingerprints = {name: manifest["fingerprint"] for name, manifest in manifests.items()}
        options = {"seed": self.session.shared.seed, **fingerprints}
        request = Request("distill", options, {}, hashes=self.session.hashes)
        path = self.run / "manifest.json"
        if path.is_file() and read_json(path).get("fingerprint") == request.fingerprint:
            return
        outputs = [
            f"weights/{name}/{output['path']}" for name, manifest in manifests.items() for output in manifest["outputs"]
        ]
        devices = ", ".join(sorted({manifest["device"] for manifest in manifests.values()}))
        seconds = {phase: value for manifest in manifests.values() for phase, value in manifest["seconds"].items()}
        record = Record(devices, seconds)
        with publish(path) as partial:
            record.write_manifest(partial, request, {name: self.run / name for name in outputs})
