"""cogvideox-5b through the same phases, but tiny: only attention is trained, and the weights lie over their base."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stages.distill.latents import Latents
from stages.distill.model import Model, cogvideox_model, sample_clips, to_batch
from stages.distill.phases import finished, train_phase
from stages.distill.policy_training import train_policy
from stages.distill.recipe_file import Config, Data, PolicyRecipe, StudentRecipe, TeacherRecipe
from stages.distill.training_loop import generator
from stages.distill.weights_folder import write_weights
from stages.errors import InputError
from stages.files.weight_tensors import read_safetensors
from stages.video.cogvideox_files import StudentFiles, load_cogvideox
from stages.video.cogvideox_memory import Memory
from stages.video.cogvideox_student import StepSettings, student
from tests.distill.tiny import COMMON, setting, write_shards
from tests.video.tiny import TRANSFORMER, VAE, save_student, scene

TWO = COMMON | {"steps": 2, "every": 1}
CONFIG = Config(
    model="cogvideox-5b",
    data=Data(frames=9, size=(32, 48)),
    teacher=TeacherRecipe(**TWO, renders=0.0, cap=None),  # type: ignore[arg-type]
    student=StudentRecipe(**TWO, gap_share=0.0, latent=0.0, picture=0.0),  # type: ignore[arg-type]
    policy=PolicyRecipe(**TWO, clips=2, held_out=0.5, grid=(99, 459), width=8),  # type: ignore[arg-type]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "base"
    save_student(folder)
    return folder


def files(folder: Path, overlay: Path | None = None) -> StudentFiles:
    return StudentFiles(
        folder / "vae", folder / "transformer", overlay or folder / "model.safetensors", folder / "prompt_embeds.pt"
    )


def model(folder: Path, precision: torch.dtype | None = None) -> Model:
    memory = Memory(precision or torch.float32)
    return cogvideox_model(load_cogvideox(files(folder), "cpu", memory, precision, TRANSFORMER, VAE)[0])


def test_the_phases(folder: Path, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "clips", (32, 48), 9)
    run = tmp_path / "run"

    def fresh() -> Model:
        return model(folder)

    frozen = fresh().network.state_dict()
    for phase in ("teacher", "student"):
        train_phase(setting(run, shards, CONFIG, fresh()), phase, lambda done, total: None)  # type: ignore[arg-type]
    policy, report = train_policy(
        setting(run, shards, CONFIG, fresh()), lambda done, total: None, lambda done, total: None
    )
    assert policy["layers.0.weight"].shape == (8, 17, 3, 3)
    assert report["clips"] == 1
    weights = finished(setting(run, shards, CONFIG, fresh()), "student")
    assert set(weights) == {name for name in frozen if ".attn1." in name}
    assert any(not torch.equal(value, frozen[name]) for name, value in weights.items())

    written = write_weights(tmp_path / "weights", CONFIG, weights, "transformer.")
    assert [path.name for path in written] == ["model.safetensors"]
    tensors = read_safetensors(written[0])
    assert all(".attn1." in name and value.dtype == torch.bfloat16 for name, value in tensors.items())
    again, keys = load_cogvideox(files(folder, written[0]), "cpu", Memory(torch.float32), None, TRANSFORMER, VAE)
    assert keys is not None
    assert len(keys.matched) == len(weights)
    assert len(keys.unexpected) == 0
    own = again.transformer.state_dict()
    assert all(torch.equal(own[name], value.float()) for name, value in tensors.items())


def test_attention_is_trained_in_float32_beside_a_base_of_half_the_size(folder: Path, tmp_path: Path) -> None:
    half = model(folder, torch.bfloat16)
    own = dict(half.network.named_parameters())
    assert {own[name].dtype for name in half.trained} == {torch.float32}
    assert {value.dtype for name, value in own.items() if name not in half.trained} == {torch.bfloat16}
    examples = sample_clips(half, write_shards(tmp_path / "clips", (32, 48)), generator(0), 1, 9, (32, 48))
    batch = to_batch(half, examples, generator(0), torch.device("cpu"), Latents(half, tmp_path))
    for name in half.trained:
        own[name].requires_grad_(True)
    v = half(torch.cat([batch.z_render, batch.condition], 2), torch.tensor([459]))
    assert v.dtype == torch.float32
    v.square().mean().backward()
    assert all(own[name].grad is not None for name in half.trained)
    assert all(value.grad is None for name, value in own.items() if name not in half.trained)


def test_the_policy_picks_the_step_and_the_sampler_takes_several(folder: Path) -> None:
    backbone = load_cogvideox(files(folder), "cpu", Memory(torch.float32), None, TRANSFORMER, VAE)[0]
    clip, views = scene()
    seen: list[tuple[torch.Size, torch.Size]] = []

    def choose(latent: torch.Tensor, coverage: torch.Tensor) -> int:
        seen.append((latent.shape, coverage.shape))
        return 300

    policy = student(backbone, StepSettings(), choose)(clip, views)
    given = student(backbone, StepSettings(t=300), None)(clip, views)
    assert torch.equal(policy.frames, given.frames)
    assert seen == [(torch.Size([1, 3, 16, 4, 6]), torch.Size([1, 9, *policy.cameras.size]))]
    several = student(backbone, StepSettings(t=300, steps=3), None)(clip, views)
    assert not torch.equal(several.frames, given.frames)
    with pytest.raises(InputError, match="no coverage"):
        student(backbone, StepSettings(), choose)(replace(clip, coverage=None), views)


def test_clips_of_another_size_are_refused(folder: Path, tmp_path: Path) -> None:
    shards, half = write_shards(tmp_path / "clips", (48, 48)), model(folder)
    examples = sample_clips(half, shards, generator(0), 1, 9, (32, 32))
    with pytest.raises(InputError, match=r"they are \(32, 32\)"):
        to_batch(half, examples, generator(0), torch.device("cpu"), Latents(half, tmp_path))


def test_each_variant_of_a_clip_is_encoded_once(folder: Path, tmp_path: Path) -> None:
    """Each of four clips has four variants: mirrored or not, forwards or backwards."""
    shards, half = write_shards(tmp_path / "clips", (32, 48), 9), model(folder, torch.bfloat16)
    encoded: list[torch.Tensor] = []

    def encode(frames: torch.Tensor) -> torch.Tensor:
        encoded.append(half.encode(frames))
        return encoded[-1]

    counted, cpu = replace(half, encode=encode), torch.device("cpu")
    for seed in range(100):
        examples = sample_clips(counted, shards, generator(seed), 2, 9, (32, 48))
        batch = to_batch(counted, examples, generator(seed), cpu, Latents(counted, tmp_path / "latents"))
        if seed < 5:
            frames = torch.stack([example.truth for example in examples]).float() / 255
            assert torch.equal(batch.z_truth, torch.cat([half.encode(clip[None]) for clip in frames]))
    assert len(encoded) == 4 * 4 * 2
    (kept,) = (tmp_path / "latents").iterdir()
    sizes = [path.stat().st_size for path in kept.iterdir()]
    assert len(sizes) == len(encoded)
    assert max(sizes) < 2 * encoded[0].numel() + 200, "in bfloat16"


def test_latents_are_of_one_codec(folder: Path) -> None:
    other = load_cogvideox(files(folder), "cpu", Memory(torch.float32), None, TRANSFORMER, VAE)[0]
    with torch.no_grad():
        next(other.vae.parameters()).add_(1e-3)
    assert model(folder).codec == model(folder).codec != cogvideox_model(other).codec
