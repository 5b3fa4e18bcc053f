"""The weights that a phase trained: the folder runs/NAME/weights/PHASE/, for `generate --student` or `--weights`."""

from pathlib import Path

import torch

from stages.distill.model import Weights
from stages.distill.policy import RELEASED
from stages.distill.recipe_file import Config
from stages.errors import InputError, WeightsError
from stages.files.publish import publish
from stages.files.weight_tensors import write_safetensors
from stages.video.small_files import config_text, network_config
from stages.video.small_network import SMALL_VIDEO, SmallVideoConfig


def small_config(config: Config) -> SmallVideoConfig:
    """The sizes of `small` that a run trains. Raises InputError when they are wrong."""
    if not config.network:
        return SMALL_VIDEO
    try:
        return network_config(config.network, "cannot train `small`")
    except WeightsError as error:
        raise InputError(error.what, error.why, "correct the config") from error


def write_weights(folder: Path, config: Config, weights: Weights, prefix: str, leap: int = RELEASED) -> list[Path]:
    """Write the weights of a student: `small` in float16 with config.yaml, `cogvideox-5b` in bfloat16.

    Of cogvideox-5b only the trained attention is written.
    prefix: leading part to remove from the names.  leap: leap step for use without a policy.  Returns the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    small = config.model == "small"
    path = folder / ("student.safetensors" if small else "model.safetensors")
    renamed = {name.removeprefix(prefix): value for name, value in weights.items()}
    write_safetensors(path, renamed, torch.float16 if small else torch.bfloat16)
    if not small:
        return [path]
    with publish(folder / "config.yaml") as partial:
        partial.write_text(config_text(small_config(config), leap), encoding="utf-8")
    return [path, folder / "config.yaml"]


def write_prior(folder: Path, weights: Weights) -> Path:
    """Write the weights of a prior for `--weights`, as float16. Returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "prior.safetensors"
    write_safetensors(path, weights, torch.float16)
    return path


def write_policy(folder: Path, weights: Weights) -> Path:
    """Write DDPNet next to the student that it was trained for."""
    path = folder / "policy.safetensors"
    write_safetensors(path, weights, torch.float32)
    return path
