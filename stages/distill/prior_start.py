"""The weights that the training of a prior starts from: random, a published encoder, or those of an earlier prior."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from stages.distill.recipe_file import Config
from stages.errors import WeightsError
from stages.files.documents import sha256_file
from stages.prior.config import RE10K, SMALL
from stages.prior.efficientnet import load_imagenet
from stages.prior.load import read_tensors
from stages.prior.network import MVSplat

HINT = "give weights of the prior that the recipe trains, or of one without its monocular branch"


def first_network(config: Config, seed: int) -> tuple[MVSplat, str]:
    """The network of a recipe with its first weights, on the CPU, and hashes of the files that these come from.

    If no file is named, "random" stands for the hashes.  seed: seed of random weights.
    Raises WeightsError when a file cannot be read or does not fit.
    """
    torch.manual_seed(seed)
    network, hashes = MVSplat(RE10K if config.model == "re10k" else SMALL), []
    if config.encoder is not None:
        assert network.backbone.monocular is not None, "the recipe was checked"
        load_imagenet(Path(config.encoder), network.backbone.monocular.encoder)
        hashes.append(sha256_file(Path(config.encoder))[:16])
    if config.start is not None:
        network.load_state_dict(widen(read_tensors(Path(config.start)), network.state_dict(), config.start))
        hashes.append(sha256_file(Path(config.start))[:16])
    return network, " ".join(hashes) or "random"


def widen(weights: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Make weights of a network with a monocular branch from those of a network without one.

    Tensors that `weights` lacks stay as they are in `state`. A layer with fewer input channels gets zeros for the
    others, so that these have no effect before training.  source: the file, for error messages.
    Raises WeightsError on a tensor that is unknown or does not fit.
    """
    widened = dict(state)
    for name, value in weights.items():
        if name not in state:
            raise WeightsError(f"cannot start from {source}", f"{name} is unexpected", HINT)
        own = state[name]
        if value.shape != own.shape:
            fits = value.dim() == own.dim() > 1 and value.shape[1] < own.shape[1]
            if not fits or (value.shape[0], *value.shape[2:]) != (own.shape[0], *own.shape[2:]):
                why = f"{name} is {tuple(value.shape)}, not {tuple(own.shape)}"
                raise WeightsError(f"cannot start from {source}", why, HINT)
            wider = torch.zeros_like(own)
            wider[:, : value.shape[1]] = value
            value = wider
        widened[name] = value
    return widened
