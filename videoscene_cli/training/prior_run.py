"""A run that trains a prior: from its config to trained weights in runs/NAME, phase by phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stages.errors import InputError
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.request import Request
from videoscene_cli.training.pairs import RECORDED_SHARDS, make_recorded, make_worlds, missing, planned
from videoscene_cli.training.run_folder import Run

if TYPE_CHECKING:
    from stages.distill.prior_phases import PriorContext
    from stages.distill.recipe_file import Phase


class PriorRun(Run):
    """A run that trains a prior. clips: folders of shards of pairs, posed scenes, or RealEstate10K chunks."""

    @property
    def worlds(self) -> Path:
        """The folder of the pairs of worlds that the recipe makes."""
        return self.run / "clips" / "pairs"

    @cached_property
    def recordings(self) -> tuple[str, ...]:
        """Sources of recordings: folders of --clips that hold no shards or, without --clips, those of the recipe."""
        given = tuple(folder for folder in self.clips if not any(Path(folder).glob("*.safetensors")))
        return given if self.clips else self.config.data.recordings

    @cached_property
    def shards(self) -> tuple[Path, ...]:
        """Every shard, in a fixed order. Those that the recipe makes need not exist yet.

        The first one is held out. It shows worlds if there are any, because these have depth.
        """
        data, clips = self.config.data, self.run / "clips"
        folders = [folder for folder in self.clips or data.clips if folder not in self.recordings]
        shards = [path for folder in folders for path in sorted(Path(folder).glob("*.safetensors"))]
        worlds = [] if self.clips else planned(self.worlds, data.pairs)
        count = (data.recorded or RECORDED_SHARDS) if self.recordings else 0
        return tuple(shards + worlds[:1] + planned(clips / "recorded", count) + worlds[1:])

    def planned_clips(self) -> list[str]:
        there = sum(path.exists() for path in self.shards)
        return [f"{len(self.shards)} shards of pairs: {there} exist, the others are to be made"]

    @cached_property
    def setting(self) -> PriorContext:
        """The network with its first weights, its data and its device. Raises InputError, WeightsError, DeviceError."""
        from stages.distill.prior_phases import PriorContext
        from stages.distill.prior_start import first_network

        device, seed = self.device, self.session.shared.seed
        furniture = self.config.data.furniture
        if not self.shards:
            why = "the recipe makes none, and --clips names no folder"
            raise InputError("no training pairs", why, "name one with --clips")
        self.session.open_renderer()
        network, origin = first_network(self.config, seed)
        network = network.to(device)
        return PriorContext(
            self.config,
            network,
            {name: value.detach().clone() for name, value in network.named_parameters()},
            self.run,
            self.shards,
            seed,
            origin,
            None if furniture is None else self.session.hashes.of(Path(furniture))[:16],
            device,
            self.workers,
        )

    def request(self, phase: Phase) -> Request:
        return Request("distill", {"phase": phase, **self.setting.identity(phase)}, {}, hashes=self.session.hashes)

    def require_start(self, phases: Sequence[Phase]) -> None:
        from stages.distill.prior_phases import finished

        before = self.setting.before(phases[0])
        if before is not None:
            finished(self.setting, before)

    def descendants(self, phase: Phase) -> list[Phase]:
        return ["prior"] if phase == "monocular" else []

    def train(self, phase: Phase, record: Record) -> None:
        from stages.distill.prior_phases import finished, train_phase
        from stages.distill.weights_folder import write_prior
        from stages.files.publish import publish

        record.device = str(self.setting.device)
        self.note_checkpoint(phase)
        with self._pairs() as check, record.stage(phase), self.session.report.progress(phase) as advance:
            train_phase(replace(self.setting, check=check), phase, advance)
        if self.workers.rank:
            return
        with publish(self.weights(phase)) as folder:
            path = write_prior(folder, finished(self.setting, phase))
            record.facts["shards"] = sum(shard.exists() for shard in self.shards)
            record.write_manifest(folder / "manifest.json", self.request(phase), {path.name: path})

    @contextmanager
    def _pairs(self) -> Iterator[Callable[[], None]]:
        """Make the pairs, before the training or beside it. Yields a function that raises an error if that fails."""
        from stages.distill.prior_worlds import Makers, load_pair_worlds

        data, seed, recorded = self.config.data, self.session.shared.seed, self.run / "clips" / "recorded"
        lacking = [] if self.clips else missing(self.worlds, data.pairs)
        if self.workers.rank:
            lacking = []
        elif self.recordings:
            make_recorded(data, self.recordings, recorded, self.session)
        if lacking and not data.makers:
            make_worlds(load_pair_worlds(data, seed), self.worlds, lacking, self.session)
            lacking = []
        if lacking and data.furniture is not None:
            self._require_furniture()
        self.workers.wait()
        with Makers(data, self.worlds, seed, lacking) as makers:
            yield makers.check

    def _require_furniture(self) -> None:
        """Raise errors about the furniture here, and not in another process."""
        from stages.worlds.furnished import load_pack
        from stages.worlds.furnished.assets import require_embree

        require_embree()
        load_pack(Path(str(self.config.data.furniture)))
