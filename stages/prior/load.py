"""Weights of the prior from a file: ours and converted ones as safetensors, the official one as the Lightning checkpoint it is (SPEC 3.12).

Loading is strict: every key and shape must be the network's, and what differs is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from stages.errors import WeightsError
from stages.files.weight_tensors import read_pickled, read_safetensors, require_keys
from stages.prior.config import RE10K, SMALL
from stages.prior.network import MVSplat

LIGHTNING_PREFIX = "encoder."
OURS = "depth_predictor.match_scale"  # a key that the official network has not


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a .safetensors file, or of the `state_dict` of a Lightning .ckpt with its prefix `encoder.` taken off.

    Nothing in the file is executed. Raises WeightsError if it is missing, damaged or holds anything else.
    """
    what = f"cannot read the weights {path}"
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if path.suffix != ".ckpt":
        raise WeightsError(what, f"its name ends with {path.suffix or 'nothing'}", "give a .safetensors file or a Lightning .ckpt")
    checkpoint = read_pickled(path)
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()):
        raise WeightsError(what, "it holds no state_dict of tensors", "give the checkpoint that Lightning saved")
    return {key.removeprefix(LIGHTNING_PREFIX): value for key, value in state.items()}


def load_prior(path: Path, device: torch.device | str = "cpu") -> MVSplat:
    """The network with the weights of a file, ready to predict: SMALL if the file has the classical matching's scale, else RE10K.

    Raises WeightsError if the file cannot be read, if any key or shape differs (the first one is named, all are counted), or on NaN
    or infinite weights.
    """
    tensors = read_tensors(path)
    network = MVSplat(SMALL if OURS in tensors else RE10K)
    what = f"the weights {path} are not of this network"
    require_keys(network.state_dict(), tensors, what, "give the prior's weights: small, or MVSplat's re10k.ckpt")
    for key, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise WeightsError(f"damaged weights {path}", f"{key} holds NaN or infinite values", "download or train them again")
    network.load_state_dict(tensors)
    return network.to(device).eval()
