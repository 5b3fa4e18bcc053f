import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.errors import WeightsError
from stages.files.weight_tensors import KeyReport
from stages.video.cogvideox_files import StudentFiles, find_files, load_cogvideox
from stages.video.cogvideox_network import TRANSFORMER_5B, CogVideoX
from tests.video.tiny import FULL, TRANSFORMER, VAE

NOWHERE = Path("no-hugging-face-cache")
KEY = "transformer_blocks.0.attn1.to_q.weight"


def load(files: StudentFiles) -> tuple[CogVideoX, KeyReport | None]:
    return load_cogvideox(files, "cpu", FULL, transformer_config=TRANSFORMER, vae_config=VAE)


def change(path: Path, **changes: torch.Tensor | None) -> None:
    """Replace tensors of a file, or drop those that are None; dots are written as __."""
    tensors = load_file(path)
    for name, tensor in changes.items():
        tensors.pop(name.replace("__", "."), None)
        if tensor is not None:
            tensors[name.replace("__", ".")] = tensor
    save_file(tensors, path)


class Hostile:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


# What loads.


def test_a_whole_overlay_replaces_the_base(student_files: StudentFiles) -> None:
    assert student_files.overlay is not None
    model, report = load(StudentFiles(student_files.vae, None, student_files.overlay, student_files.prompt))
    overlay = load_file(student_files.overlay)
    assert report is not None
    assert len(report.matched) == len(overlay)
    assert not report.missing
    own = model.transformer.state_dict()
    assert all(torch.equal(own[key], tensor) for key, tensor in overlay.items())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_partial_overlay_is_laid_over_the_base(student_files: StudentFiles, prefix: str) -> None:
    overlay_path, base_folder = student_files.overlay, student_files.transformer
    assert overlay_path is not None
    assert base_folder is not None
    attention = {key: tensor for key, tensor in load_file(overlay_path).items() if ".attn1.to_" in key}
    save_file({prefix + key: tensor for key, tensor in attention.items()}, overlay_path)
    model, report = load(student_files)
    base = load_file(base_folder / "diffusion_pytorch_model.safetensors")
    assert report is not None
    assert set(report.matched) == set(attention)
    assert set(report.missing) == set(base) - set(attention)
    for key, tensor in model.transformer.state_dict().items():
        assert torch.equal(tensor, attention.get(key, base[key])), key


def test_without_an_overlay_the_base_is_the_student(student_files: StudentFiles) -> None:
    model, report = load(StudentFiles(student_files.vae, student_files.transformer, None, student_files.prompt))
    assert report is None
    assert not model.transformer.training
    assert not any(parameter.requires_grad for parameter in model.transformer.parameters())


def test_shards(student_files: StudentFiles) -> None:
    folder = student_files.transformer
    assert folder is not None
    single = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(single)
    single.unlink()
    names = {key: f"diffusion_pytorch_model-0000{1 + i % 2}-of-00002.safetensors" for i, key in enumerate(tensors)}
    for name in set(names.values()):
        save_file({key: tensor for key, tensor in tensors.items() if names[key] == name}, folder / name)
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    files = StudentFiles(student_files.vae, folder, None, student_files.prompt)
    own = load(files)[0].transformer.state_dict()
    assert all(torch.equal(own[key], tensor) for key, tensor in tensors.items())

    index.write_text(json.dumps({"weight_map": names | {KEY: "../../model.safetensors"}}))
    with pytest.raises(WeightsError, match="no files of this folder"):
        load(files)


def test_prompt_as_safetensors(student_files: StudentFiles) -> None:
    prompt = torch.load(student_files.prompt, weights_only=True)
    path = student_files.prompt.with_suffix(".safetensors")
    save_file({"prompt_embeds": prompt.bfloat16()}, path)
    model, _ = load(StudentFiles(student_files.vae, student_files.transformer, student_files.overlay, path))
    assert torch.equal(model.prompt, prompt.bfloat16().float())


# Where the files are.


def test_a_folder_with_everything(student_files: StudentFiles) -> None:
    folder = student_files.vae.parent
    assert find_files(folder, NOWHERE) == student_files


def test_a_base_that_a_whole_overlay_replaces_decides_nothing(student_files: StudentFiles) -> None:
    assert student_files.overlay is not None
    weights = ("vae", "student", "student")
    assert tuple(path.parent.name for path in student_files.paths()) == weights
    change(student_files.overlay, **{KEY.replace(".", "__"): None})
    assert tuple(path.parent.name for path in student_files.paths()) == ("vae", "transformer", "student", "student")


def test_the_base_comes_from_the_hugging_face_cache(student_files: StudentFiles, tmp_path: Path) -> None:
    """Laid out as huggingface_hub does."""
    repository, revision = tmp_path / "hub" / "models--feizhengcong--CogvideoX-Interpolation", "0123abcd" * 5
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    folder = student_files.vae.parent
    for part in ("vae", "transformer"):
        shutil.move(folder / part, snapshot / part)
    found = find_files(folder, tmp_path / "hub")
    assert found.vae == snapshot / "vae"
    assert found.transformer == snapshot / "transformer"
    load(found)
    (repository / "refs" / "main").write_text("../../../..")
    with pytest.raises(WeightsError, match="no codec"):
        find_files(folder, tmp_path / "hub")


def test_what_is_missing_is_named(student_files: StudentFiles) -> None:
    folder = student_files.vae.parent
    with pytest.raises(WeightsError, match="no such folder"):
        find_files(folder / "nothing", NOWHERE)
    student_files.prompt.unlink()
    with pytest.raises(WeightsError, match="no text embedding"):
        find_files(folder, NOWHERE)
    shutil.rmtree(folder / "transformer")
    assert student_files.overlay is not None
    student_files.overlay.unlink()
    with pytest.raises(WeightsError, match=r"neither model\.safetensors nor transformer/"):
        find_files(folder, NOWHERE)


def test_a_partial_overlay_without_a_base(student_files: StudentFiles) -> None:
    assert student_files.overlay is not None
    change(student_files.overlay, transformer_blocks__0__attn1__to_q__weight=None)
    with pytest.raises(WeightsError, match="lacks 1 tensors"):
        load(StudentFiles(student_files.vae, None, student_files.overlay, student_files.prompt))


# What is refused, and why.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"transformer_blocks__0__attn1__to_q__weight": torch.zeros(64, 65)},
            r"attn1\.to_q\.weight is \(64, 65\), not \(64, 64\)",
        ),
        (
            {"transformer_blocks__7__attn1__to_q__weight": torch.zeros(64, 64)},
            r"transformer_blocks\.7\.attn1\.to_q\.weight is unexpected",
        ),
        ({"norm_final__bias": torch.zeros(64, dtype=torch.int64)}, r"norm_final\.bias is \(64,\) of int64"),
    ],
)
def test_an_overlay_of_another_network(
    student_files: StudentFiles, changes: dict[str, torch.Tensor], words: str
) -> None:
    assert student_files.overlay is not None
    change(student_files.overlay, **changes)
    with pytest.raises(WeightsError, match=words):
        load(student_files)


def test_an_empty_overlay(student_files: StudentFiles) -> None:
    assert student_files.overlay is not None
    save_file({}, student_files.overlay)
    with pytest.raises(WeightsError, match="0 keys match"):
        load(student_files)


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_a_base_that_lacks_a_tensor(student_files: StudentFiles, part: str) -> None:
    folder = student_files.vae.parent / part
    path = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    key = next(iter(tensors))
    save_file({name: tensor for name, tensor in tensors.items() if name != key}, path)
    with pytest.raises(WeightsError, match=f"{key} is missing"):
        load(StudentFiles(student_files.vae, student_files.transformer, None, student_files.prompt))


def test_the_text_to_video_model_is_no_base(student_files: StudentFiles) -> None:
    assert student_files.transformer is not None
    path = student_files.transformer / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"in_channels": 16}))
    files = StudentFiles(student_files.vae, student_files.transformer, None, student_files.prompt)
    with pytest.raises(WeightsError, match="its in_channels is 16, not 32"):
        load(files)
    path.write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    with pytest.raises(WeightsError, match="its _class_name is 'UNet2DConditionModel'"):
        load(files)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_broken_config(student_files: StudentFiles, text: str) -> None:
    (student_files.vae / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"config\.json"):
        load(student_files)


@pytest.mark.parametrize("part", ["overlay", "vae"])
def test_a_file_cut_off(student_files: StudentFiles, part: str) -> None:
    path = student_files.overlay if part == "overlay" else student_files.vae / "diffusion_pytorch_model.safetensors"
    assert path is not None
    for size in (path.stat().st_size - 1, 100, 0):
        os.truncate(path, size)
        with pytest.raises(WeightsError, match="damaged"):
            load(student_files)


def test_pickles_are_not_run(student_files: StudentFiles, tmp_path: Path) -> None:
    """As the overlay, as the text embedding (plain, and as torch writes it), and as the base."""
    target = tmp_path / "executed"
    overlay, transformer = student_files.overlay, student_files.transformer
    assert overlay is not None
    assert transformer is not None
    kept = overlay.read_bytes()
    overlay.write_bytes(pickle.dumps(Hostile(target)))
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load(student_files)
    overlay.write_bytes(kept)

    torch.save({"prompt": Hostile(target)}, student_files.prompt)
    with pytest.raises(WeightsError, match="Python objects"):
        load(student_files)
    student_files.prompt.write_bytes(pickle.dumps(Hostile(target), protocol=2))
    with pytest.raises(WeightsError, match="Python objects"):
        load(student_files)
    torch.save(torch.zeros(1, 4, 8), student_files.prompt)

    (transformer / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(Hostile(target), transformer / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match="is a pickle"):
        load(StudentFiles(student_files.vae, transformer, None, student_files.prompt))
    assert not target.exists()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (torch.zeros(1, 5, 8), r"holds \(1, 5, 8\) of float32, not \(1, 4, 8\)"),
        (torch.zeros(1, 4, 8, dtype=torch.int32), "of int32"),
        (torch.full((1, 4, 8), torch.nan), "NaN"),
        ([torch.zeros(1, 4, 8)], "does not hold one tensor"),
    ],
)
def test_another_text_embedding(student_files: StudentFiles, prompt: object, words: str) -> None:
    torch.save(prompt, student_files.prompt)
    with pytest.raises(WeightsError, match=words):
        load(student_files)


def test_tiny_weights_are_not_the_released_size(student_files: StudentFiles) -> None:
    torch.save(torch.zeros(1, 226, 4096), student_files.prompt)
    with pytest.raises(WeightsError, match="are not of this transformer"):
        load_cogvideox(student_files, "cpu", FULL, transformer_config=TRANSFORMER_5B, vae_config=VAE)
