"""The files of a `small` student. They are read strictly, and nothing in them is executed.

A folder of weights holds
  config.yaml            a mapping: model is small; network holds the fields of SmallVideoConfig; leap is the leap step
                         that is used without a policy
  student.safetensors    SmallVideo's state dict, in half precision
  policy.safetensors     DDPNet (stages/distill/policy.py), if there is one
"""

from collections.abc import Mapping
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.errors import InputError, WeightsError
from stages.files.documents import read_yaml
from stages.files.settings import parse
from stages.files.weight_tensors import read_safetensors, require_keys
from stages.video.small_network import SmallVideo, SmallVideoConfig
from stages.video.timesteps import STEPS

OURS = "give a folder of weights that `videoscene distill` wrote"
LARGEST = 4096  # largest number that a config may hold: a damaged file must not ask for all memory


def config_text(config: SmallVideoConfig, leap: int) -> str:
    """The text of config.yaml."""
    import yaml

    network = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}
    return str(yaml.safe_dump({"model": "small", "leap": leap, "network": network}, sort_keys=False))


def read_config(path: Path) -> tuple[SmallVideoConfig, int]:
    """The sizes of the network and its leap step. Raises WeightsError when the file is damaged or of another model."""
    what = f"cannot use {path}"
    try:
        values = read_yaml(path, OURS)
    except InputError as error:
        raise WeightsError(what, error.why, error.hint) from error
    if not isinstance(values, dict) or values.get("model") != "small" or not isinstance(values.get("network"), dict):
        raise WeightsError(what, "it lacks the line model: small or the section network", OURS)
    leap = values.get("leap")
    if type(leap) is not int or not 0 < leap < STEPS:
        raise WeightsError(what, f"leap is {leap!r}, not 1 to {STEPS - 1}", OURS)
    return network_config(values["network"], what), leap


def network_config(values: Mapping[str, Any], what: str) -> SmallVideoConfig:
    """The sizes of the network from plain values.

    Raises WeightsError when one is missing, unknown or not a positive number.
    """
    try:
        config = parse(SmallVideoConfig, values, "network")
    except InputError as error:
        raise WeightsError(what, f"{error.what}: {error.why}", error.hint) from error
    numbers = [number for sizes in astuple(config) for number in (sizes if isinstance(sizes, tuple) else (sizes,))]
    if not all(0 < number <= LARGEST for number in numbers):
        raise WeightsError(what, f"a size of the network is not from 1 to {LARGEST}", OURS)
    return config


def load_small(path: Path, config: SmallVideoConfig) -> SmallVideo:
    """The network with the weights of a file, ready to run. Raises WeightsError as `read_weights` does."""
    network = SmallVideo(config)
    network.load_state_dict(read_weights(path, network.state_dict()))
    return network.eval().requires_grad_(False)


def read_weights(path: Path, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, in float32. Raises WeightsError when their names and shapes are not those of `own`."""
    tensors = read_safetensors(path)
    require_keys(own, tensors, f"the weights {path} are of another network", OURS)
    for key, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            why = f"{key} holds NaN or infinite values"
            raise WeightsError(f"damaged weights {path}", why, "train or install them again")
    return {key: value.float() for key, value in tensors.items()}
