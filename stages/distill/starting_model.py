"""The model that a run of distillation starts from, with random or given weights."""

from pathlib import Path

import torch

from stages.distill.model import Model, cogvideox_model, small_model
from stages.distill.recipe_file import Config
from stages.distill.weights_folder import small_config
from stages.errors import InputError
from stages.files.documents import sha256_file
from stages.video.cogvideox_files import StudentFiles, find_files, load_cogvideox
from stages.video.cogvideox_memory import Memory
from stages.video.small_files import read_weights
from stages.video.small_network import SmallVideo


def starting_model(config: Config, device: torch.device, seed: int, hub: Path) -> tuple[Model, str]:
    """The model with the weights that the teacher starts from, and a name for these weights.

    seed: seed of random weights.  hub: the cache of the Hugging Face hub, where the base of cogvideox-5b may be.
    Raises InputError when the recipe does not fit, and WeightsError when weights are missing or do not fit.
    """
    precision = torch.bfloat16 if config.precision == "bfloat16" else None
    if config.model != "small":
        files = base_files(config, hub)
        backbone, _ = load_cogvideox(files, device, Memory(precision or torch.float32), precision)
        return cogvideox_model(backbone), files.overlay.name if files.overlay else "base"
    torch.manual_seed(seed)
    network = SmallVideo(small_config(config))
    if config.start is None:
        return small_model(network.to(device), precision), "random"
    start = Path(config.start)
    network.load_state_dict(read_weights(start, network.state_dict()))
    return small_model(network.to(device), precision), sha256_file(start)[:16]


def base_files(config: Config, hub: Path) -> StudentFiles:
    """The files of CogVideoX that training starts from. Raises InputError when the recipe names none."""
    if config.base is None:
        why = "the training of cogvideox-5b starts from the weights of a base model"
        hint = "copy the recipe and write base: FOLDER, with transformer/, vae/ and prompt_embeds.pt"
        raise InputError("no base", why, hint)
    return find_files(Path(config.base), hub)
