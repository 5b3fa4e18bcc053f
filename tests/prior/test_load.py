"""Loading weights: what fits is loaded exactly, else the key that differs is named, and nothing in a file is run."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stages.errors import WeightsError
from stages.files.weight_tensors import compare_keys
from stages.prior.config import RE10K, SMALL, SMALL_MATCHING, SMALL_WITHOUT_POINTS, PriorConfig
from stages.prior.load import load_prior
from stages.prior.network import MVSplat


@pytest.fixture(scope="module")
def small() -> MVSplat:
    torch.manual_seed(0)
    return MVSplat(SMALL)


def tensors(network: MVSplat) -> dict[str, Tensor]:
    return {key: value.contiguous() for key, value in network.state_dict().items()}


def same(a: MVSplat, b: MVSplat) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("config", [SMALL, SMALL_WITHOUT_POINTS, SMALL_MATCHING], ids=["now", "earlier", "first"])
def test_safetensors_of_the_small_network(config: PriorConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = MVSplat(config)
    save_file(tensors(small), tmp_path / "prior.safetensors")
    network = load_prior(tmp_path / "prior.safetensors")
    assert network.config == config
    assert not network.training
    assert same(network, small)


def test_a_lightning_checkpoint_of_the_official_network(tmp_path: Path) -> None:
    torch.manual_seed(1)
    official = MVSplat(RE10K)
    checkpoint = {
        "epoch": 3,
        "global_step": 300_000,
        "pytorch-lightning_version": "2.2.0",
        "state_dict": {f"encoder.{key}": value for key, value in official.state_dict().items()},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 2e-4}]}],
    }
    torch.save(checkpoint, tmp_path / "re10k.ckpt")
    network = load_prior(tmp_path / "re10k.ckpt")
    assert network.config == RE10K
    assert same(network, official)


Change = Callable[[dict[str, Tensor]], object]
CHANGES: dict[str, tuple[Change, str]] = {
    "missing": (lambda t: t.pop("backbone.backbone.conv2.bias"), "backbone.backbone.conv2.bias is missing"),
    "unexpected": (lambda t: t.update(extra=torch.zeros(1)), "extra is unexpected"),
    "reshaped": (
        lambda t: t.update({"depth_predictor.proj_feature.bias": torch.zeros(5)}),
        "proj_feature.bias is (5,), not (16,)",
    ),
    "not finite": (lambda t: t["depth_predictor.proj_feature.bias"].fill_(float("nan")), "proj_feature.bias holds NaN"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_difference_is_named(small: MVSplat, tmp_path: Path, name: str) -> None:
    change, words = CHANGES[name]
    changed = {key: value.clone() for key, value in tensors(small).items()}
    change(changed)
    save_file(changed, tmp_path / "prior.safetensors")
    with pytest.raises(WeightsError) as caught:
        load_prior(tmp_path / "prior.safetensors")
    assert words in caught.value.why
    assert caught.value.hint


def test_the_report_counts_every_key(small: MVSplat) -> None:
    changed = tensors(small)
    total = len(changed)
    changed["other"] = changed.pop("depth_predictor.match_scale")
    changed["depth_predictor.proj_feature.bias"] = torch.zeros(5)
    report = compare_keys(small.state_dict(), changed)
    assert str(report) == f"{total - 2} keys match, 1 missing, 1 unexpected, 1 of another shape"
    assert report.missing == ("depth_predictor.match_scale",)
    assert report.unexpected == ("other",)
    assert not report.exact


class Malice:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return Path.touch, (Path("harmed"),)  # type: ignore[return-value]


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "hyper_parameters": Malice()}, tmp_path / "evil.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Malice(), protocol=2))
    for name in ("evil.ckpt", "plain.ckpt"):
        with pytest.raises(WeightsError, match="cannot read the weights"):
            load_prior(tmp_path / name)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt", ".pth", ""])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\xff" * 64])
def test_a_damaged_file_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_prior(path)
    assert caught.value.why
    assert "\n" not in caught.value.why


@pytest.mark.parametrize("name", ["gone.safetensors", "gone.ckpt"])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="cannot read the weights"):
        load_prior(tmp_path / name)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_truncated_file_is_refused(small: MVSplat, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": small.state_dict()}, path)
    else:
        save_file(tensors(small), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError):
        load_prior(path)


@pytest.mark.parametrize("content", [[], {"weights": {}}, {"state_dict": {"a": 1}}, {"state_dict": [torch.zeros(1)]}])
def test_a_checkpoint_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match="no state_dict"):
        load_prior(tmp_path / "other.ckpt")
