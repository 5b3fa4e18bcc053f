"""--student, --leap and --steps: which video model repairs the render. Its files are found before any work, its network is loaded once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.errors import InputError
from stages.files.documents import sha256_file
from videoscene_cli.models import weights_file as installed
from videoscene_cli.models.session import Session
from videoscene_cli.models.weights_file import WeightsFile, find_weights, hub_cache
from videoscene_cli.results.manifest import Record

if TYPE_CHECKING:
    from torch import Tensor

    from stages.generate import Student
    from stages.scene import Clip, Views
    from stages.video.cogvideox_files import StudentFiles
    from stages.video.cogvideox_student import StepSettings
    from stages.video.small_network import SmallVideoConfig

OFFICIAL = "cogvideox-5b"
AUTO = "auto"
Facts = dict[str, Any]  # of the clip that was repaired last, for the manifest


class VideoStudent:
    """The student of a command: none; `small` or a folder that `distill` made of it; CogVideoX from the Hugging Face cache or a folder.

    leap: a timestep, or auto: what the weights' policy chooses, without one the step that the weights name.  steps: of the sampler.
    Raises InputError for a leap that the student cannot take, WeightsError for a wrong name or an incomplete folder, before any work.
    """

    def __init__(self, name: str, leap: int | str, session: Session, steps: int = 1) -> None:
        self.name, self.session = name, session
        self._model: _Small | _CogVideoX | None = None
        if name != "none":
            ours = installed.SHIPPED.is_dir() and name in os.listdir(installed.SHIPPED)
            folder = installed.SHIPPED / name if ours else hub_cache() / name if name == OFFICIAL else Path(name)
            small = ours or (folder / "config.yaml").is_file()
            self._model = (_Small if small else _CogVideoX)(name, folder, None if leap == AUTO else int(leap), steps, session)

    @property
    def installed(self) -> bool:
        return self._model is not None

    @property
    def frames(self) -> int | None:
        """How many frames its clips have; None for any number."""
        return None if self._model is None else self._model.frames

    def options(self) -> dict[str, Any]:
        """For the request: what changes pixels."""
        return {} if self._model is None else {"student": self.name, **self._model.options()}

    @cached_property
    def weights(self) -> dict[str, dict[str, str]]:
        """For the request: every file of the student with its hash."""
        return {} if self._model is None else self._model.weights()

    def check_frames(self, count: int) -> None:
        """Raises InputError, before any work, when the student cannot take a clip of `count` frames."""
        if self.frames is not None:
            from stages.video.cogvideox_student import require_frames

            require_frames(count, self.frames)

    @cached_property
    def _loaded(self) -> tuple[Student, Facts]:
        assert self._model is not None
        return self._model.load()

    def repair(self, clip: Clip, views: Views, record: Record) -> Clip:
        """Repair a render, or say that nothing does."""
        from stages.generate import repair

        if self._model is None:
            self.session.report.note("no video student repairs the clip: it is the prior's render")
            record.facts["student"] = None
            with record.stage("generate"):
                return repair(clip, views, None)
        with record.stage("student"), self.session.report.progress("loading the student"):
            step, facts = self._loaded
        with record.stage("generate"), self.session.report.progress("generate"):
            repaired = repair(clip, views, step)
        record.facts["student"] = {"name": self.name, **facts}
        return repaired


class _Small:
    """The folder of weights of a `small` student (layout: stages/video/small_files.py), verified against its manifest."""

    def __init__(self, name: str, folder: Path, leap: int | None, steps: int, session: Session) -> None:
        from stages.video.small_files import read_config

        self.folder, self.leap, self.steps, self.session = folder, leap, steps, session
        self.config, self.named = read_config(folder / "config.yaml")
        self.network = find_weights(str(folder), "student")
        wanted = leap is None and (folder / "policy.safetensors").is_file()
        self.policy = find_weights(str(folder), "policy") if wanted else None
        if leap == 0:
            raise InputError("bad usage", "--leap 0 leaves nothing to do", "give auto, or 1 to 999")

    frames: int | None = None
    config: SmallVideoConfig
    network: WeightsFile
    policy: WeightsFile | None

    def options(self) -> dict[str, Any]:
        leap = AUTO if self.policy else self.leap if self.leap is not None else self.named
        return {"leap": leap, "steps": self.steps, "seed": self.session.shared.seed}

    def weights(self) -> dict[str, dict[str, str]]:
        return {"student": self.network.record()} | ({"policy": self.policy.record()} if self.policy else {})

    def load(self) -> tuple[Student, Facts]:
        from stages.video.small_codec import CHANNELS
        from stages.video.small_files import load_small
        from stages.video.small_student import small_student

        network, device = load_small(self.network.path, self.config).to(self.session.device), self.session.device
        facts: Facts = {"t": self.leap or self.named, "chosen": "given" if self.leap else "weights", "steps": self.steps}

        def backbone(x: Tensor, t: Tensor) -> Tensor:
            return network(x.to(device), t.to(device)).to(x.device)

        leap = _chooser(self.policy.path, CHANNELS, facts) if self.policy else facts["t"]
        return small_student(backbone, leap, self.session.shared.seed, self.steps), facts


class _CogVideoX:
    """CogVideoX-5B-I2V with VideoScene's weights (layout: stages/video/cogvideox_files.py)."""

    def __init__(self, name: str, folder: Path, leap: int | None, steps: int, session: Session) -> None:
        from stages.video.cogvideox_files import find_files
        from stages.video.cogvideox_network import TRANSFORMER_5B

        self.name, self.leap, self.session = name, leap, session
        self.files: StudentFiles = find_files(folder, hub_cache())
        self.frames: int | None = TRANSFORMER_5B["sample_frames"]
        self.steps, policy = steps, folder / "policy.safetensors"
        self.policy = policy if leap is None and policy.is_file() else None

    @cached_property
    def settings(self) -> StepSettings:
        from stages.video.cogvideox_student import StepSettings

        settings = StepSettings(seed=self.session.shared.seed, steps=self.steps)
        return settings if self.leap is None else replace(settings, t=self.leap)

    def options(self) -> dict[str, Any]:
        return asdict(self.settings) | ({"t": AUTO} if self.policy else {})

    def weights(self) -> dict[str, dict[str, str]]:
        paths = [*self.files.paths(), *([self.policy] if self.policy else [])]
        record = {f"student/{path.parent.name}/{path.name}": path for path in paths}
        return {part: {"name": self.name, "file": path.name, "sha256": sha256_file(path)} for part, path in record.items()}

    def load(self) -> tuple[Student, Facts]:
        import torch

        from stages.video.cogvideox_files import load_cogvideox
        from stages.video.cogvideox_network import Memory
        from stages.video.cogvideox_student import student

        dtype = torch.bfloat16 if self.session.device.type == "cuda" else torch.float32
        model, keys = load_cogvideox(self.files, self.session.device, Memory(dtype))
        facts: Facts = {"keys": str(keys), "t": self.settings.t, "chosen": "weights" if self.leap is None else "given", "steps": self.steps}
        choose = None if self.policy is None else _chooser(self.policy, model.transformer.config.out_channels, facts)
        return student(model, self.settings, choose), facts


def _chooser(path: Path, channels: int, facts: Facts) -> Callable[[Tensor, Tensor], int]:
    """The policy of a file, which notes what it chose."""
    from stages.distill.policy import load_policy

    policy = load_policy(path, channels)

    def choose(latent: Tensor, coverage: Tensor) -> int:
        facts.update(t=policy.choose(latent.float().cpu(), coverage.cpu()), chosen="policy")
        return int(facts["t"])

    return choose
