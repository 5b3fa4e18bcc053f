"""A run of `distill` and its folder runs/NAME: what a student's and a prior's have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from videoscene_cli.models.session import Session
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.request import Request

if TYPE_CHECKING:
    from stages.distill.recipe_file import Config, Phase
    from stages.distill.workers import Workers

# In runs/NAME/weights.
FOLDERS = {
    **{"monocular": "monocular", "prior": "prior"},
    **{"teacher": "teacher", "regression": "regression", "student": "student", "policy": "full"},
}


@dataclass(frozen=True)
class Run(ABC):
    """One run of `distill`. run: its folder.  clips: folders to train on, those of the config when empty."""

    run: Path
    config: Config
    clips: tuple[str, ...]
    session: Session

    @abstractmethod
    def planned_clips(self) -> list[str]:
        """What is trained on, in words."""

    @abstractmethod
    def request(self, phase: Phase) -> Request:
        """What decides the weights of a phase, but for the clips."""

    @abstractmethod
    def require_start(self, phases: Sequence[Phase]) -> None:
        """Refuse, before --force forgets anything, what would be refused later: no clips, no device, an unfinished phase before."""

    @abstractmethod
    def descendants(self, phase: Phase) -> list[Phase]:
        """The phases that start from the weights of a phase; the last ones first."""

    @abstractmethod
    def train(self, phase: Phase, record: Record) -> None:
        """Train a phase to its end, from its newest checkpoint if there is one, and publish its weights."""

    @cached_property
    def workers(self) -> Workers:
        """This process, and those beside it when `accelerate launch` or torchrun started several."""
        from stages.distill.workers import Workers, accelerated

        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return Workers()
        return accelerated(cpu=self.session.shared.device == "cpu")

    def weights(self, phase: Phase) -> Path:
        """The folder of weights that a phase leaves; that of the policy holds the student too."""
        return self.run / "weights" / FOLDERS[phase]

    def forget(self, phase: Phase) -> None:
        """Remove what a phase left, and before that what came of it, for --force."""
        from stages.files.leftovers import remove

        for name in (*self.descendants(phase), phase):
            remove(self.weights(name))
            remove(self.run / "checkpoints" / name)

    def note_config(self) -> None:
        """Write config.yaml, the settings in full."""
        import yaml

        from stages.files.publish import publish

        with publish(self.run / "config.yaml") as partial:
            partial.write_text(yaml.safe_dump(self.config.to_dict(), sort_keys=False), encoding="utf-8")

    def conclude(self) -> None:
        """Write the run's manifest.json: the phases that are done, and their weights. Unless it says so already."""
        from stages.files.documents import read_json
        from stages.files.publish import publish

        done = {name: read_json(path / "manifest.json") for name in FOLDERS.values() if (path := self.run / "weights" / name).is_dir()}
        request = Request("distill", {"seed": self.session.shared.seed, **{name: made["fingerprint"] for name, made in done.items()}}, {})
        path = self.run / "manifest.json"
        if path.is_file() and read_json(path).get("fingerprint") == request.fingerprint:
            return
        outputs = [f"weights/{name}/{output['path']}" for name, made in done.items() for output in made["outputs"]]
        devices = ", ".join(sorted({made["device"] for made in done.values()}))
        record = Record(devices, {phase: seconds for made in done.values() for phase, seconds in made["seconds"].items()})
        with publish(path) as partial:
            record.write_manifest(partial, request, {name: self.run / name for name in outputs})
