"""--student, --leap and --steps: the video model that repairs the render.

Its files are found before any work. Its network is loaded once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stages.errors import DeviceError, InputError
from videoscene_cli.models import weights_file as installed
from videoscene_cli.models.session import Session
from videoscene_cli.models.weights_file import WeightsFile, find_weights, hub_cache

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from stages.scene import Clip, Views
    from stages.video.cogvideox_files import StudentFiles
    from stages.video.cogvideox_student import StepSettings
    from stages.video.full_size import Student
    from stages.video.small_network import SmallVideoConfig

OFFICIAL = "cogvideox-5b"  # folder of VideoScene's weights in the Hugging Face cache
AUTO = "auto"  # value of --leap that leaves the choice to the policy


class VideoStudent:
    """The student of a command: none, `small`, a folder that `distill` wrote, or CogVideoX from a folder.

    leap: a timestep, or auto, which leaves the choice to the weights' policy or, without one, to their default.
    steps: of the sampler.  memory: a mode of CogVideoX's use of GPU memory, or auto.
    Raises InputError for an impossible leap, WeightsError for a wrong name or an incomplete folder, before any work.
    """

    def __init__(self, name: str, leap: int | str, session: Session, steps: int = 1, memory: str = AUTO) -> None:
        self.name, self.session = name, session
        self._model: _Model | None = None
        if name != "none":
            ours = installed.SHIPPED.is_dir() and name in os.listdir(installed.SHIPPED)
            folder = installed.SHIPPED / name if ours else hub_cache() / name if name == OFFICIAL else Path(name)
            small = ours or (folder / "config.yaml").is_file()
            chosen = None if leap == AUTO else int(leap)
            if small and memory != AUTO:
                raise InputError("bad usage", f"--memory does nothing to {name}", "leave it out, or use cogvideox-5b")
            self._model = (
                _Small(name, folder, chosen, steps, session)
                if small
                else _CogVideoX(name, folder, chosen, steps, session, memory)
            )

    @property
    def installed(self) -> bool:
        """Whether there is a student."""
        return self._model is not None

    @property
    def is_small(self) -> bool:
        """Whether it is `small`, shipped or trained by `distill`."""
        return isinstance(self._model, _Small)

    @property
    def frames(self) -> int | None:
        """Number of frames of its clips; None for any number."""
        return None if self._model is None else self._model.frames

    @property
    def short_side(self) -> int | None:
        """Short side of the frames that it repairs, px, known before it is loaded; None without a student."""
        return None if self._model is None else self._model.short_side

    def options(self) -> dict[str, Any]:
        """The options that change pixels, for the request."""
        return {} if self._model is None else {"student": self.name, **self._model.options()}

    @cached_property
    def weights(self) -> dict[str, dict[str, str]]:
        """Every file of the student with its hash, for the request."""
        return {} if self._model is None else self._model.weights()

    def check_frames(self, count: int) -> None:
        """Raise InputError, before any work, when the student cannot take a clip of `count` frames."""
        if self.frames is not None:
            from stages.sizes import MOST_FRAMES
            from stages.video.cogvideox_student import require_frames

            require_frames(min(count, MOST_FRAMES), self.frames)

    @cached_property
    def step(self) -> Student | None:
        """The function that repairs a clip, loaded once; None without a student. Raises WeightsError, DeviceError."""
        return None if self._model is None else self._model.load()

    def facts(self, leap: int | None) -> dict[str, Any] | None:
        """What repaired a clip, for the manifest. leap: the leap step of the clip."""
        return None if self._model is None else {"name": self.name, "t": leap, **self._model.facts()}


class _Model(Protocol):
    """What each kind of student offers before it is loaded. frames: number of frames of its clips, None for any."""

    frames: int | None

    @property
    def short_side(self) -> int: ...

    def options(self) -> dict[str, Any]: ...

    def weights(self) -> dict[str, dict[str, str]]: ...

    def load(self) -> Student: ...

    def facts(self) -> dict[str, Any]: ...


class _Small:
    """A `small` student from its folder of weights (see stages/video/small_files.py), verified against its manifest."""

    def __init__(self, name: str, folder: Path, leap: int | None, steps: int, session: Session) -> None:
        from stages.video.small_files import read_config

        self.folder, self.leap, self.steps, self.session = folder, leap, steps, session
        self.config, self.default_leap = read_config(folder / "config.yaml")
        self.network = find_weights(str(folder), "student", session.hashes)
        has_policy = leap is None and (folder / "policy.safetensors").is_file()
        self.policy = find_weights(str(folder), "policy", session.hashes) if has_policy else None
        if leap == 0:
            raise InputError("bad usage", "--leap 0 leaves nothing to do", "give auto, or 1 to 999")

    frames: int | None = None
    config: SmallVideoConfig
    network: WeightsFile
    policy: WeightsFile | None

    @property
    def short_side(self) -> int:
        from stages.sizes import NETWORK_SIDE

        return NETWORK_SIDE

    @cached_property
    def dtype(self) -> torch.dtype:
        """The type in which the network's features are computed."""
        from stages.video.small_student import dtype_on

        return dtype_on(self.session.device)

    def options(self) -> dict[str, Any]:
        leap = AUTO if self.policy else self.leap if self.leap is not None else self.default_leap
        return {"leap": leap, "steps": self.steps, "seed": self.session.shared.seed}

    def weights(self) -> dict[str, dict[str, str]]:
        return {"student": self.network.record()} | ({"policy": self.policy.record()} if self.policy else {})

    def load(self) -> Student:
        from stages.video.full_size import Student
        from stages.video.small_codec import CHANNELS
        from stages.video.small_files import load_small
        from stages.video.small_student import small_student

        network = load_small(self.network.path, self.config).to(self.session.device).computing_in(self.dtype)
        leap = _chooser(self.policy.path, CHANNELS) if self.policy else self.leap or self.default_leap
        return Student(small_student(network, leap, self.session.shared.seed, self.steps), self.short_side)

    def facts(self) -> dict[str, Any]:
        precision = str(self.dtype).removeprefix("torch.")
        return {"chosen": _who_chose(self.policy, self.leap), "steps": self.steps, "precision": precision}


class _CogVideoX:
    """CogVideoX-5B-I2V with VideoScene's weights (see stages/video/cogvideox_files.py)."""

    def __init__(self, name: str, folder: Path, leap: int | None, steps: int, session: Session, memory: str) -> None:
        from stages.video.cogvideox_files import find_files
        from stages.video.cogvideox_network import TRANSFORMER_5B

        self.name, self.leap, self.session, self.memory = name, leap, session, memory
        self.files: StudentFiles = find_files(folder, hub_cache())
        self.frames: int | None = TRANSFORMER_5B["sample_frames"]
        self.steps, policy = steps, folder / "policy.safetensors"
        self.policy = policy if leap is None and policy.is_file() else None
        self._keys = ""  # how the keys in the files compare with the network's; known after loading

    @cached_property
    def settings(self) -> StepSettings:
        from stages.video.cogvideox_student import StepSettings

        settings = StepSettings(seed=self.session.shared.seed, steps=self.steps)
        return settings if self.leap is None else replace(settings, t=self.leap)

    @property
    def short_side(self) -> int:
        from stages.video.cogvideox_network import VAE_5B

        return int(VAE_5B["sample_height"])

    def options(self) -> dict[str, Any]:
        chosen = {"t": AUTO} if self.policy else {}
        return asdict(self.settings) | chosen | ({} if self.memory == AUTO else {"memory": self.memory})

    @cached_property
    def mode(self) -> str:
        """The mode of memory: --memory, or the fastest one that fits into what is free on the GPU."""
        import torch

        from stages.video.cogvideox_memory import mode_for

        if self.memory != AUTO:
            return self.memory
        on_cuda = self.session.device.type == "cuda"
        return mode_for(torch.cuda.mem_get_info(self.session.device)[0]) if on_cuda else "full"

    def weights(self) -> dict[str, dict[str, str]]:
        paths = [*self.files.paths(), *([self.policy] if self.policy else [])]
        record = {f"student/{path.parent.name}/{path.name}": path for path in paths}
        return {
            part: {"name": self.name, "file": path.name, "sha256": self.session.hashes.of(path)}
            for part, path in record.items()
        }

    def load(self) -> Student:
        from stages.video.cogvideox_files import load_cogvideox
        from stages.video.cogvideox_memory import MODES
        from stages.video.cogvideox_network import dtype_on
        from stages.video.cogvideox_student import student
        from stages.video.full_size import Student

        if self.session.device.type == "mps":
            why = "it was made for CUDA, and needs float64 beside the network"
            raise DeviceError(f"{self.name} does not run on mps", why, "use --student small, or --device cpu")
        device = self.session.device
        self.session.report.detail(f"{self.name}: --memory {self.mode}")
        with self._memory_hint():
            model, keys = load_cogvideox(self.files, device, replace(MODES[self.mode], dtype=dtype_on(device)))
        self._keys = str(keys)
        choose = None if self.policy is None else _chooser(self.policy, model.transformer.config.out_channels)
        step = student(model, self.settings, choose)

        def repair(clip: Clip, views: Views) -> Clip:
            with self._memory_hint():
                return step(clip, views)

        return Student(repair, self.short_side)

    @contextmanager
    def _memory_hint(self) -> Iterator[None]:
        """Turn a lack of GPU memory into a DeviceError that names the next mode: the network's size is fixed."""
        import torch

        from stages.video.cogvideox_memory import next_mode

        try:
            yield
        except torch.OutOfMemoryError as error:
            smaller = next_mode(self.mode)
            hint = "a larger GPU, or --student small" if smaller is None else f"--memory {smaller}"
            why = f"--memory {self.mode}: {str(error).splitlines()[0]}"
            raise DeviceError("out of memory on the GPU", why, hint) from error

    def facts(self) -> dict[str, Any]:
        facts = {"chosen": _who_chose(self.policy, self.leap), "steps": self.steps, "keys": self._keys}
        return facts | {"memory": self.mode}


def _who_chose(policy: WeightsFile | Path | None, leap: int | None) -> str:
    """What chose the leap step: the "policy", the default of the "weights", or the user ("given")."""
    return "policy" if policy is not None else "weights" if leap is None else "given"


def _chooser(path: Path, channels: int) -> Callable[[Tensor, Tensor], int]:
    """The policy in a file, as a function that chooses a clip's leap step on the device of the clip's latent."""
    from stages.distill.policy import load_policy

    policy = load_policy(path, channels)
    return lambda latent, coverage: policy.to(latent.device).choose(latent, coverage.to(latent.device))
