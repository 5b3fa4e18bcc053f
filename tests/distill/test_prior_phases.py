"""The phases of the prior at tiny size: what they train, what they start from, what a killed run leaves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.distill.checkpoints import checkpoints, read_facts
from stages.distill.prior_phases import BRANCH, ENCODER, Pairs, PriorContext, finished, train_phase
from stages.distill.prior_start import first_network, widen
from stages.distill.recipe_file import PRIOR_PHASES, Config, Data, MonocularRecipe, PriorRecipe
from stages.distill.training_loop import Trainer
from stages.errors import InputError, WeightsError
from stages.prior.config import SMALL, SMALL_MATCHING
from stages.prior.network import MVSplat
from tests.distill.tiny_prior import COMMON, CONFIG, TINY, TINY_RE10K, prior_context, random_shards, tiny_network


def quiet(done: int, total: int) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return random_shards(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def trained(shards: list[Path], tmp_path_factory: pytest.TempPathFactory) -> PriorContext:
    context = prior_context(tmp_path_factory.mktemp("run") / "run", shards)
    train_phase(context, "monocular", quiet)
    train_phase(context, "prior", quiet)
    return context


def train_both(run: Path, shards: list[Path]) -> None:
    for phase in PRIOR_PHASES:
        train_phase(prior_context(run, shards), phase, quiet)


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_each_phase_trains_its_own_part_from_the_weights_before(trained: PriorContext) -> None:
    branch, whole = finished(trained, "monocular"), finished(trained, "prior")
    assert moved(trained.start, branch)
    assert all(name.startswith(BRANCH) for name in moved(trained.start, branch))
    assert branch.keys() == whole.keys() == trained.network.state_dict().keys()
    changed = moved(branch, whole)
    assert {"depth_predictor.vote_scale", "depth_predictor.match_scale"} <= changed
    assert not any(name.startswith("backbone.backbone.") for name in changed), "frozen"
    # The second phase went on from the first: what it froze is as the first one left it.
    stem = f"{ENCODER}stem.weight"
    assert torch.equal(whole[stem], branch[stem])
    assert not torch.equal(branch[stem], trained.start[stem])


def test_the_encoder_learns_at_a_share_of_the_rate(shards: list[Path], tmp_path: Path) -> None:
    config = replace(CONFIG, monocular=replace(CONFIG.monocular, encoder=0.0))
    context = prior_context(tmp_path / "run", shards, config)
    train_phase(context, "monocular", quiet)
    changed = moved(context.start, finished(context, "monocular"))
    assert changed
    assert not any(name.startswith(ENCODER) for name in changed)


def test_the_log_tells_every_loss_and_how_the_shards_come(trained: PriorContext) -> None:
    rows = [json.loads(line) for line in (trained.run / "log.jsonl").read_text().splitlines()]
    last = next(row for row in rows if row["phase"] == "prior" and "loss" in row)
    assert {"depth", "planes", "edges", "alone", "picture", "gaps"} <= last.keys()
    assert (last["shards"], last["waited"]) == (2, 0)
    held_out = [row["held_out"] for row in rows if "held_out" in row]
    assert [set(figures) for figures in held_out] == [{"loss"}] * 2 + [
        {"loss", "depth", "planes", "edges", "alone", "picture", "gaps"}
    ] * 2
    assert len(list((trained.run / "samples").glob("*.png"))) == 4


@pytest.mark.parametrize("phase", ["monocular", "prior"])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    trained: PriorContext, shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    class Killed(Exception):
        pass

    save = Trainer._save

    def save_and_die(trainer: Trainer) -> None:
        save(trainer)
        if trainer.task.phase == phase and trainer.step == 2:
            raise Killed

    monkeypatch.setattr(Trainer, "_save", save_and_die)
    with pytest.raises(Killed):
        train_both(tmp_path / "cut", shards)
    monkeypatch.undo()
    train_both(tmp_path / "cut", shards)
    whole, cut = (finished(context, "prior") for context in (trained, prior_context(tmp_path / "cut", shards)))
    assert not moved(whole, cut)


def test_a_phase_needs_the_one_before_and_the_same_settings(
    trained: PriorContext, shards: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="0 of 4 steps"):
        train_phase(prior_context(tmp_path / "run", shards), "prior", quiet)
    other = replace(CONFIG, prior=replace(CONFIG.prior, unseen=0.5))
    with pytest.raises(InputError, match=r"unseen was 0\.7, now 0\.5"):
        train_phase(prior_context(trained.run, shards, other), "prior", quiet)
    with pytest.raises(InputError, match="is gone"):
        train_phase(prior_context(trained.run, shards[:2]), "prior", quiet)


def test_a_step_samples_from_the_shards_of_its_turn(shards: list[Path], tmp_path: Path) -> None:
    """So that a run is a function of its recipe, however fast the shards come; the first shard is held out."""
    growing = replace(CONFIG, prior=replace(CONFIG.prior, first_shards=1, shards_per_step=0.5))
    pairs = Pairs(prior_context(tmp_path / "run", shards, growing), "prior", None)
    assert pairs.held_out.paths == shards[:1]
    loaded = []
    for step in range(4):
        loaded.append(int(pairs.loss(step, torch.Generator().manual_seed(0), {})["shards"]))
    assert loaded == [1, 1, 2, 2]
    assert pairs.pool.paths == shards[1:]
    assert read_facts(checkpoints(prior_run(tmp_path, shards), "monocular")[-1])["clips"] == [str(p) for p in shards]


def prior_run(tmp_path: Path, shards: list[Path]) -> Path:
    context = prior_context(tmp_path / "other", shards)
    train_phase(context, "monocular", quiet)
    return context.run


@pytest.mark.parametrize("kind", ["small-prior", "re10k"])
def test_pairs_without_depth_teach_by_their_pictures(tmp_path: Path, kind: str) -> None:
    """Recordings; the paper's prior learns from pictures alone, whatever the pairs hold."""
    config = Config(model=kind, prior=PriorRecipe(**COMMON))  # type: ignore[arg-type]
    network = tiny_network(TINY if kind == "small-prior" else TINY_RE10K)
    shards = random_shards(tmp_path / "pairs", 2, depth=kind == "re10k")
    context = prior_context(tmp_path / "run", shards, config, network)
    train_phase(context, "prior", quiet)
    assert moved(context.start, finished(context, "prior"))
    rows = [json.loads(line) for line in (context.run / "log.jsonl").read_text().splitlines()]
    told = next(row for row in rows if "loss" in row)
    assert "picture" in told
    assert "depth" not in told
    blind = replace(config, prior=replace(config.prior, pictured=0))
    with pytest.raises(InputError, match="nothing to learn"):
        train_phase(prior_context(tmp_path / "blind", shards, blind, network), "prior", quiet)


def test_an_earlier_prior_predicts_the_same_after_it_was_widened() -> None:
    """Its new input channels count for nothing, and neither do the votes before they are trained."""
    earlier = MVSplat(replace(TINY, monocular=None))
    network = tiny_network()
    widened = widen(earlier.state_dict(), network.state_dict(), "file")
    for name, value in earlier.state_dict().items():
        assert torch.equal(widened[name][:, : value.shape[1]] if value.dim() > 1 else widened[name], value), name
    wider = {name for name, value in earlier.state_dict().items() if value.shape != widened[name].shape}
    assert wider == {
        f"depth_predictor.{layer}.weight"
        for layer in ("corr_refine_net.0", "regressor_residual", "upsampler.0", "refine_unet.0")
    }
    for name in wider:
        assert float(widened[name][:, earlier.state_dict()[name].shape[1] :].abs().max()) == 0
    assert any(name.startswith(BRANCH) for name in widened)


def test_weights_that_do_not_fit_are_refused() -> None:
    state = tiny_network().state_dict()
    with pytest.raises(WeightsError, match="tail is unexpected"):
        widen({"tail": torch.zeros(1)}, state, "file")
    name = "depth_predictor.regressor_residual.weight"
    with pytest.raises(WeightsError, match="regressor_residual"):
        widen({name: torch.cat([state[name], state[name]], 1)}, state, "file")


def test_the_shipped_form_is_one_to_start_from(tmp_path: Path) -> None:
    torch.manual_seed(1)
    earlier = MVSplat(SMALL_MATCHING).state_dict()
    save_file({name: value.half().contiguous() for name, value in earlier.items()}, tmp_path / "prior.safetensors")
    network, told = first_network(Config(model="small-prior", start=str(tmp_path / "prior.safetensors")), 0)
    assert network.config == SMALL
    assert len(told) == 16
    name = "depth_predictor.to_disparity.0.weight"
    assert torch.allclose(network.state_dict()[name], earlier[name], rtol=2e-3, atol=1e-6)
    assert network.state_dict()[name].dtype == torch.float32


def test_a_recipe_of_a_student_has_no_phase_of_the_prior() -> None:
    for wrong in (
        {"prior": PriorRecipe(steps=1)},
        {"model": "re10k", "monocular": MonocularRecipe(steps=1)},
        {"encoder": "file"},
    ):
        with pytest.raises(ValueError, match=r"small has no phase prior|monocular branch|encoder"):
            Config(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="multiples of 16"):
        Data(sizes=((100, 128),))


def test_checkpoints_hold_only_what_is_trained(trained: PriorContext) -> None:
    state = load_file(checkpoints(trained.run, "monocular")[-1] / "state.safetensors")
    assert all(key.split(".", 1)[1].startswith(BRANCH) for key in state)
