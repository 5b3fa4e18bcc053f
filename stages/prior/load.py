"""Weights of the prior from a file: ours and converted ones as safetensors, the official one as the Lightning checkpoint it is (SPEC 3.12).

Loading is strict: every key and shape must be the network's, and what differs is named.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from stages.errors import WeightsError
from stages.files.tensors import KeyReport, compare_keys, shape_in_words
from stages.prior.config import RE10K, SMALL
from stages.prior.network import MVSplat

LIGHTNING_PREFIX = "encoder."
OURS = "depth_predictor.match_scale"  # a key that the official network has not


def compare(network: MVSplat, tensors: dict[str, Tensor]) -> KeyReport:
    """Compare the keys and shapes of `tensors` with the network's."""
    return compare_keys(network.state_dict(), tensors)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of the `state_dict` of a Lightning .ckpt with its prefix `encoder.` taken off.

    Nothing in the file is executed. Raises WeightsError if it is missing, damaged or holds anything else.
    """
    what = f"cannot read the weights {path}"
    if path.suffix not in (".safetensors", ".ckpt"):
        raise WeightsError(what, f"its name ends with {path.suffix or 'nothing'}", "give a .safetensors file or a Lightning .ckpt")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(what, error.strerror or str(error), "check the path") from error
    except pickle.UnpicklingError as error:
        why = "it is damaged, or holds Python objects beside tensors, which are not run"
        raise WeightsError(what, why, "download it again, or save its state_dict as .safetensors where you trust it") from error
    except Exception as error:  # a damaged file makes the two readers raise a dozen unrelated kinds
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(what, f"it is damaged: {why}", "download it again") from error
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
    report = compare(network, tensors)
    if not report.exact:
        what, why = f"the weights {path} are not of this network", f"{_first_difference(network, tensors, report)}; {report}"
        raise WeightsError(what, why, "give the prior's weights: small, or MVSplat's re10k.ckpt")
    for key, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise WeightsError(f"damaged weights {path}", f"{key} holds NaN or infinite values", "download or train them again")
    network.load_state_dict(tensors)
    return network.to(device).eval()


def _first_difference(network: MVSplat, tensors: dict[str, Tensor], report: KeyReport) -> str:
    if report.missing:
        return f"{report.missing[0]} is missing"
    if report.unexpected:
        return f"{report.unexpected[0]} is unexpected"
    key = report.reshaped[0]
    return f"{key} has shape {shape_in_words(tensors[key])}, not {shape_in_words(network.state_dict()[key])}"
