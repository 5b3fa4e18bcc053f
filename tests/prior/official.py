"""Weights for the official network that anyone can make again: by a rule from the parameters' names."""

import zlib

import torch

from stages.prior.config import RE10K
from stages.prior.network import MVSplat


def official_network() -> MVSplat:
    """RE10K with weights from a normal n with seed crc32(name).

    Weights of norms are 1 + 0.1 n, other vectors 0.02 n, and all else is 0.7 n / sqrt(inputs).
    """
    network = MVSplat(RE10K).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
            if parameter.dim() > 1:
                parameter.copy_(noise * 0.7 / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(1 + 0.1 * noise if name.endswith("weight") else 0.02 * noise)
    return network
