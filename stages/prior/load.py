"""Loads the prior's weights: our own from safetensors, or MVSplat's from its published Lightning checkpoint.

Loading is strict. Every key and shape must be that of the network, and an error names one that differs.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from stages.errors import WeightsError
from stages.files.weight_tensors import read_pickled, read_safetensors, require_keys
from stages.prior.config import RE10K, SMALL, SMALL_MATCHING, SMALL_WITHOUT_POINTS, PriorConfig
from stages.prior.network import MVSplat

LIGHTNING_PREFIX = "encoder."  # beginning of every key in a Lightning checkpoint
CLASSICAL = "depth_predictor.match_scale"  # a key of our networks, which MVSplat's network lacks
MONOCULAR = "depth_predictor.vote_scale"  # a key of our networks with a monocular branch
# A key whose layer has more inputs if the network's layers read the votes of points.
MATCH_LAYER = "depth_predictor.regressor_residual.weight"


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a .safetensors file, or of the `state_dict` of a Lightning .ckpt without the prefix `encoder.`.

    No code in the file is run. Raises WeightsError if the file is missing, damaged or holds anything else.
    """
    what = f"cannot read the weights {path}"
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if path.suffix != ".ckpt":
        why = f"its name ends with {path.suffix}" if path.suffix else "its name has no ending"
        raise WeightsError(what, why, "give a .safetensors file or a Lightning .ckpt")
    checkpoint = read_pickled(path)
    state = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    items = list(state.items()) if isinstance(state, dict) else []
    if not items or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in items):
        raise WeightsError(what, "it holds no state_dict of tensors", "give the checkpoint that Lightning saved")
    return {key.removeprefix(LIGHTNING_PREFIX): value for key, value in items}


def load_prior(path: Path, device: torch.device | str = "cpu") -> MVSplat:
    """The network with the weights of a file, ready to predict.

    The keys of the file, and the shape of one tensor, tell which of the configurations it is.
    Raises WeightsError if the file cannot be read, if a key or shape differs, or on NaN or infinite weights.
    """
    tensors = read_tensors(path)
    network = MVSplat(_config(tensors))
    what = f"the weights {path} are not of this network"
    require_keys(network.state_dict(), tensors, what, "give the prior's weights: small, or MVSplat's re10k.ckpt")
    for key, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            why = f"{key} holds NaN or infinite values"
            raise WeightsError(f"damaged weights {path}", why, "download or train them again")
    network.load_state_dict(tensors)
    return network.to(device).eval()


def _config(tensors: Mapping[str, Tensor]) -> PriorConfig:
    if MONOCULAR in tensors:
        channels = tensors[MATCH_LAYER].shape[1:2] if MATCH_LAYER in tensors else ()
        return SMALL_WITHOUT_POINTS if channels == (SMALL_WITHOUT_POINTS.match_channels,) else SMALL
    return SMALL_MATCHING if CLASSICAL in tensors else RE10K
