"""Other image-to-video models under the two-view protocol. They get the first photograph and no cameras.

Stable Video Diffusion and CogVideoX-5B-I2V run through diffusers with any number of steps, as in the paper's Tables 1
and 2. Their clip is assumed to move evenly from the first photograph to the second. A target is compared with the frame
that is nearest in time.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.errors import InputError, WeightsError
from stages.evaluate.method_baselines import Method
from stages.scene import Cameras, Clip, Views

# Method -> class in diffusers, repository on the Hugging Face hub, number of frames, (h, w) of training.
MODELS: Mapping[str, tuple[str, str, int, tuple[int, int]]] = {
    "svd": ("StableVideoDiffusionPipeline", "stabilityai/stable-video-diffusion-img2vid-xt", 25, (576, 1024)),
    "cogvideox": ("CogVideoXImageToVideoPipeline", "THUDM/CogVideoX-5b-I2V", 49, (480, 720)),
}
Generate = Callable[[Tensor], Tensor]
"""A photograph [3, h, w] -> frames [F, 3, h', w'], both in [0, 1]."""


def load(name: str, hub: Path, device: torch.device, steps: int, seed: int) -> Generate:
    """A model of MODELS, from the folder HUB/NAME as diffusers saves it, or from the Hugging Face cache `hub`.

    Nothing is downloaded. Raises InputError if the package transformers is missing, WeightsError if the model is.
    """
    import diffusers
    from diffusers.utils import is_transformers_available

    kind, repository, frames, size = MODELS[name]
    if not is_transformers_available():
        why = "it needs the package transformers"
        raise InputError(f"cannot run {name}", why, "pip install transformers accelerate")
    folder, cuda = hub / name, device.type == "cuda"
    source = str(folder) if folder.is_dir() else repository
    precision = torch.bfloat16 if cuda and name == "cogvideox" else torch.float16 if cuda else torch.float32
    try:
        pipeline = getattr(diffusers, kind).from_pretrained(
            source, cache_dir=hub, local_files_only=True, torch_dtype=precision
        )
    except (OSError, ValueError) as error:
        hint = f"hf download {repository}, or put it into {folder}"
        raise WeightsError(f"no weights for {name}", " ".join(str(error).split())[:200], hint) from error
    pipeline.set_progress_bar_config(disable=True)
    pipeline.enable_model_cpu_offload(device=device) if cuda else pipeline.to(device)
    return generator(name, pipeline, frames, size, steps, seed)


def generator(name: str, pipeline: Any, frames: int, size: tuple[int, int], steps: int, seed: int) -> Generate:
    """A pipeline of diffusers as a function of a photograph. Every photograph gets the same noise."""

    def generate(photograph: Tensor) -> Tensor:
        from PIL import Image

        resized = F.interpolate(photograph[None].float(), size, mode="bicubic", antialias=True)[0].clamp(0, 1)
        picture = Image.fromarray((resized * 255).round().byte().permute(1, 2, 0).cpu().numpy())
        options: dict[str, Any] = {
            "height": size[0],
            "width": size[1],
            "num_frames": frames,
            "num_inference_steps": steps,
        }
        options |= {"decode_chunk_size": 2} if name == "svd" else {"prompt": ""}
        noise = torch.Generator("cpu").manual_seed(seed)
        frames_of_model = pipeline(picture, generator=noise, output_type="pt", **options).frames[0]
        return torch.as_tensor(frames_of_model).float().cpu().clamp(0, 1)

    return generate


def image_to_video(generate: Generate) -> Method:
    """A model as a method. The photograph is resized to the model's size, and the frames back to the photograph's."""

    def method(context: Views, cameras: Cameras, times: Tensor) -> Clip:
        clip = generate(context.images[0])
        nearest_frames = (times.double().clamp(0, 1) * (len(clip) - 1)).round().long()
        return Clip(
            F.interpolate(clip[nearest_frames], cameras.size, mode="bicubic", antialias=True).clamp(0, 1), cameras
        )

    return method
