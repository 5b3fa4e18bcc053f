"""Image-to-video models as methods: what they get, which frames are shown, and the message when they are missing."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.errors import InputError, WeightsError
from stages.evaluate import method_video_models
from stages.evaluate.cases import load_task, read_cases
from stages.evaluate.method_video_models import MODELS, generator, image_to_video, load
from stages.evaluate.protocol import make


class Pipeline:
    """Stands for a pipeline of diffusers: frame k is the photograph, k / 10 darker."""

    def __call__(self, picture: Any, **asked: Any) -> Any:
        self.asked, self.picture = asked, picture
        image = (
            torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
            .view(picture.height, picture.width, 3)
            .permute(2, 0, 1)
            / 255
        )
        return SimpleNamespace(frames=torch.stack([image * (1 - k / 10) for k in range(asked["num_frames"])])[None])


@pytest.mark.parametrize("name", list(MODELS))
def test_frames_at_the_targets_times(wall: Callable[..., Path], name: str) -> None:
    task, pipeline = load_task(read_cases(wall())[1]), Pipeline()
    made = make(task, image_to_video(generator(name, pipeline, 5, (96, 128), steps=4, seed=7)))
    assert made.frames.shape == (5, 3, 48, 64)
    brightness = made.frames.mean((1, 2, 3)) / task.context.images[0].mean()
    assert brightness.tolist() == pytest.approx([1.0, 0.6, 0.9, 0.8, 0.7], abs=0.02), (
        "first photograph, second, and the targets between"
    )
    assert pipeline.picture.size == (128, 96)
    assert pipeline.asked["num_inference_steps"] == 4
    assert pipeline.asked["generator"].initial_seed() == 7


def test_models_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers.utils

    monkeypatch.setattr(diffusers.utils, "is_transformers_available", lambda: False)
    with pytest.raises(InputError, match="transformers") as caught:
        load("svd", tmp_path, torch.device("cpu"), 4, 0)
    assert "pip install" in caught.value.hint

    class Absent:
        @staticmethod
        def from_pretrained(source: str, **options: Any) -> Any:
            assert options["local_files_only"]
            raise OSError(f"{source} is not in the cache")

    monkeypatch.setattr(diffusers.utils, "is_transformers_available", lambda: True)
    monkeypatch.setattr(diffusers, "StableVideoDiffusionPipeline", Absent)
    with pytest.raises(WeightsError, match="stable-video-diffusion"):
        load("svd", tmp_path, torch.device("cpu"), 4, 0)


def test_a_tiny_stable_video_diffusion(
    wall: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    import diffusers

    torch.manual_seed(0)
    unet = diffusers.UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=32, in_channels=8, out_channels=4, num_frames=3,
        num_attention_heads=(2, 4),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"), cross_attention_dim=32,
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        projection_class_embeddings_input_dim=96,
        addition_time_embed_dim=32,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=[32, 64],
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 2,
        latent_channels=4,
    )
    config = transformers.CLIPVisionConfig(
        hidden_size=32,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=224,
        intermediate_size=37,
        patch_size=56,
    )
    pipeline = diffusers.StableVideoDiffusionPipeline(
        vae=vae, image_encoder=transformers.CLIPVisionModelWithProjection(config).eval(), unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(prediction_type="v_prediction", timestep_type="continuous"),
        feature_extractor=transformers.CLIPImageProcessor(crop_size=224, size=224),
    )  # fmt: skip
    pipeline.save_pretrained(tmp_path / "hub" / "svd")
    kind, repository, _, _ = MODELS["svd"]
    monkeypatch.setattr(method_video_models, "MODELS", {"svd": (kind, repository, 3, (64, 64))})
    generate = load("svd", tmp_path / "hub", torch.device("cpu"), steps=1, seed=0)
    task = load_task(read_cases(wall())[1])
    made = make(task, image_to_video(generate))
    again: Tensor = make(task, image_to_video(generate)).frames
    assert made.frames.shape == (5, 3, 48, 64)
    assert torch.equal(made.frames, again), "one seed, one clip"
