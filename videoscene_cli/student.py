"""--student and --leap: which video model repairs the render. Its files are found before any work, its network is loaded once."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.files.documents import sha256_file
from videoscene_cli.artifact import Record
from videoscene_cli.engine import Engine

if TYPE_CHECKING:
    from stages.generate import Student
    from stages.scene import Clip, Views
    from stages.video.checkpoint import StudentFiles
    from stages.video.student import StepSettings

OFFICIAL = "cogvideox-5b"


class VideoStudent:
    """The student of a command: none, the official one from the Hugging Face cache, or a folder (layout: stages/video/checkpoint.py)."""

    def __init__(self, name: str, leap: int, engine: Engine) -> None:
        self.name, self.leap, self.engine = name, leap, engine
        if self.installed:
            self.files  # noqa: B018  a wrong name or an incomplete folder is an error before any work

    @property
    def installed(self) -> bool:
        return self.name != "none"

    @cached_property
    def files(self) -> StudentFiles:
        """Raises WeightsError that says what is missing and where to get it."""
        from huggingface_hub.constants import HF_HUB_CACHE

        from stages.video.checkpoint import find_files

        hub = Path(os.environ.get("VIDEOSCENE_CACHE") or HF_HUB_CACHE)
        return find_files(hub / self.name if self.name == OFFICIAL else Path(self.name), hub)

    @cached_property
    def settings(self) -> StepSettings:
        from stages.video.student import StepSettings

        return StepSettings(t=self.leap, seed=self.engine.shared.seed)

    def options(self) -> dict[str, Any]:
        """For the request: what changes pixels."""
        return {"student": self.name, **asdict(self.settings)} if self.installed else {}

    @cached_property
    def weights(self) -> dict[str, dict[str, str]]:
        """For the request: every file of the student with its hash."""
        if not self.installed:
            return {}
        record = {f"student/{path.parent.name}/{path.name}": path for path in self.files.paths()}
        return {part: {"name": self.name, "file": path.name, "sha256": sha256_file(path)} for part, path in record.items()}

    def check_frames(self, count: int) -> None:
        """Raises InputError, before any work, when the student cannot take a clip of `count` frames."""
        if self.installed:
            from stages.video.student import require_frames

            require_frames(count)

    @cached_property
    def _loaded(self) -> tuple[Student, str]:
        import torch

        from stages.video.checkpoint import load_cogvideox
        from stages.video.cogvideox import Memory
        from stages.video.student import student

        dtype = torch.bfloat16 if self.engine.device.type == "cuda" else torch.float32
        model, keys = load_cogvideox(self.files, self.engine.device, Memory(dtype))
        return student(model, self.settings), str(keys)

    def repair(self, clip: Clip, views: Views, record: Record) -> Clip:
        """Repair a render, or say that nothing does."""
        from stages.generate import repair

        if not self.installed:
            self.engine.report.note("no video student is installed: the clip is the prior's render")
            record.facts["student"] = None
            with record.stage("generate"):
                return repair(clip, views, None)
        with record.stage("student"), self.engine.report.progress("loading the student"):
            step, keys = self._loaded
        record.facts["student"] = {"name": self.name, "keys": keys, "t": self.leap, "steps": 1}
        with record.stage("generate"), self.engine.report.progress("generate"):
            return repair(clip, views, step)
