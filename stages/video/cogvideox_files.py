"""The files of CogVideoX-5B-I2V and of VideoScene's release. They are read strictly, and nothing in them is executed.

A student's folder holds
  model.safetensors                    the distilled transformer: all 1025 tensors, or those that training changed
  prompt_embeds.safetensors or .pt     the text's embedding: one tensor [1, 226, 4096]
  transformer/  vae/                   the base model, as diffusers writes it
A part of the base model that is missing is taken from the Hugging Face cache.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.errors import WeightsError
from stages.files.weight_tensors import (
    KeyReport,
    compare_keys,
    first_difference,
    names_in,
    read_json_object,
    read_pickled,
    read_safetensors,
    read_sharded,
    require_keys,
)
from stages.video.cogvideox_memory import Memory
from stages.video.cogvideox_network import TRANSFORMER_5B, VAE_5B, CogVideoX, build

BASE = "feizhengcong/CogvideoX-Interpolation"  # CogVideoX-5B-I2V, fine-tuned so that the clip ends at a second image
OURS = "give VideoScene's release, and CogVideoX-5B-I2V as its base"
FETCH = f"hf download {BASE} --include 'transformer/*' 'vae/*'"


@dataclass(frozen=True)
class StudentFiles:
    """The files of a student.

    vae, transformer: folders as diffusers writes them.  overlay: file of VideoScene's transformer.
    prompt: file of the text's embedding.
    transformer may be None when the overlay is complete, and overlay when the transformer is the student itself.
    """

    vae: Path
    transformer: Path | None
    overlay: Path | None
    prompt: Path

    def paths(self) -> list[Path]:
        """Every file that decides the result, for a manifest. A base that a complete overlay replaces does not."""
        base = None if self.overlay is not None and self._is_complete(self.overlay) else self.transformer
        folders = [folder for folder in (self.vae, base) if folder is not None]
        weights = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
        return [*weights, *([self.overlay] if self.overlay else []), self.prompt]

    def _is_complete(self, overlay: Path) -> bool:
        """Whether the overlay holds every tensor of the base, by the names in both. Reads no tensor."""
        if self.transformer is None:
            return True
        names = {name.removeprefix("module.") for name in names_in(overlay)}
        return all(names_in(path) <= names for path in self.transformer.glob("*.safetensors"))


def find_files(folder: Path, hub: Path) -> StudentFiles:
    """The files of a student's folder (see above). hub: the Hugging Face cache.

    Raises WeightsError that says what is missing and where to get it.
    """
    if not folder.is_dir():
        why = "no such folder"
        raise WeightsError(f"no student {folder}", why, "give the folder of model.safetensors and prompt_embeds.pt")
    cached = cached_base(hub)
    overlay = folder / "model.safetensors"
    if not overlay.is_file() and not (folder / "transformer").is_dir():
        raise WeightsError(f"no student in {folder}", "it has neither model.safetensors nor transformer/", OURS)
    prompt = next(
        (path for path in (folder / "prompt_embeds.safetensors", folder / "prompt_embeds.pt") if path.is_file()), None
    )
    if prompt is None:
        why = "prompt_embeds.safetensors and prompt_embeds.pt are missing"
        raise WeightsError(f"no text embedding in {folder}", why, "take prompt_embeds.pt from VideoScene's release")

    def base(part: str) -> Path | None:
        candidates = [folder / part, *([cached / part] if cached else [])]
        return next((path for path in candidates if path.is_dir()), None)

    vae = base("vae")
    if vae is None:
        raise WeightsError(f"no codec for {folder}", f"vae/ is neither in that folder nor in {hub}", FETCH)
    return StudentFiles(vae, base("transformer"), overlay if overlay.is_file() else None, prompt)


def cached_base(hub: Path) -> Path | None:
    """The folder of the base model in a Hugging Face cache: the snapshot that refs/main names.

    None when there is no such folder.
    """
    repository = hub / f"models--{BASE.replace('/', '--')}"
    try:
        revision = (repository / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    snapshot = repository / "snapshots" / revision
    return snapshot if revision.isalnum() and snapshot.is_dir() else None


def load_cogvideox(
    files: StudentFiles,
    device: torch.device | str,
    memory: Memory,
    autocast: torch.dtype | None = None,
    transformer_config: dict[str, Any] = TRANSFORMER_5B,
    vae_config: dict[str, Any] = VAE_5B,
) -> tuple[CogVideoX, KeyReport | None]:
    """The student, ready to run, and how the overlay's keys compare with the transformer's (None without an overlay).

    Raises WeightsError when a file is missing, damaged or of another network. It names the first key that differs.
    """
    home = torch.device("cpu" if memory.offload else device)
    prompt_shape = (1, transformer_config["max_text_seq_length"], transformer_config["text_embed_dim"])
    prompt = read_prompt(files.prompt, prompt_shape)
    transformer, vae = build("transformer", transformer_config), build("vae", vae_config)
    tensors, report = read_transformer(files, transformer.state_dict(), transformer_config)
    _fill(transformer, tensors, home, memory.dtype)
    _fill(vae, read_base(files.vae, "AutoencoderKLCogVideoX", vae.state_dict(), vae_config), home, memory.dtype)
    return CogVideoX(transformer, vae, prompt, device, memory, autocast), report


def read_transformer(
    files: StudentFiles, own: dict[str, Tensor], config: dict[str, Any]
) -> tuple[dict[str, Tensor], KeyReport | None]:
    """The transformer's tensors; the overlay's replace the base's.

    own: the network's state dict, possibly on the meta device.
    """
    overlay, report = read_overlay(files.overlay, own) if files.overlay else ({}, None)
    if report is not None and not report.missing:
        return overlay, report
    if files.transformer is None:
        lacking = len(report.missing) if report else 0
        why = f"{files.overlay} lacks {lacking} tensors that the base must give, and there is no base"
        raise WeightsError("no transformer", why, FETCH)
    return read_base(files.transformer, "CogVideoXTransformer3DModel", own, config) | overlay, report


def read_overlay(path: Path, own: dict[str, Tensor]) -> tuple[dict[str, Tensor], KeyReport]:
    """VideoScene's transformer, whole or in part. A prefix `module.` is removed if all keys have it.

    Raises WeightsError when a key is unexpected or of another shape, or when none matches.
    """
    tensors = read_safetensors(path)
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    report = compare_keys(own, tensors)
    if report.unexpected or report.reshaped or not report.matched:
        why = f"{first_difference(own, tensors, report)}; {report}"
        raise WeightsError(f"the weights {path} are not of this transformer", why, OURS)
    return tensors, report


def read_base(folder: Path, kind: str, own: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """All tensors of one part of the base. Its config.json must not contradict `config`. kind: diffusers' class."""
    path = folder / "config.json"
    stated = read_json_object(path)
    for key, value in {"_class_name": kind, **config}.items():
        if key in stated and stated[key] != value:
            why = f"its {key} is {stated[key]!r}, not {value!r}"
            raise WeightsError(f"the weights {folder} are of another network", why, OURS)
    tensors = read_sharded(folder)
    require_keys(own, tensors, f"the weights {folder} are of another network", OURS)
    return tensors


def read_prompt(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """The text's embedding: the one tensor of a .safetensors file, or of a file that torch.save wrote.

    Raises WeightsError when the file holds anything else.
    """
    what, hint = f"cannot use the text embedding {path}", "take prompt_embeds.pt from VideoScene's release"
    if path.suffix == ".safetensors":
        tensors = read_safetensors(path)
        value: object = next(iter(tensors.values())) if len(tensors) == 1 else tensors
    else:
        value = read_pickled(path)
    if not isinstance(value, Tensor):
        raise WeightsError(what, "it does not hold one tensor", hint)
    if value.shape != shape or not value.is_floating_point():
        why = f"it holds {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}, not {shape}"
        raise WeightsError(what, why, hint)
    if not bool(torch.isfinite(value).all()):
        raise WeightsError(what, "it holds NaN or infinite values", hint)
    return value


def _fill(network: nn.Module, tensors: dict[str, Tensor], device: torch.device, dtype: torch.dtype) -> None:
    network.load_state_dict({key: tensor.to(device, dtype) for key, tensor in tensors.items()}, assign=True)
