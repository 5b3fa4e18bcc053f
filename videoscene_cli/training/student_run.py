"""A run that trains a student: from its config to trained weights in runs/NAME, phase by phase."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.errors import InputError
from videoscene_cli.models.metric_networks import folder_of_networks
from videoscene_cli.models.weights_file import hub_cache
from videoscene_cli.results.manifest import Record
from videoscene_cli.results.request import Request
from videoscene_cli.training.clips import make_clips, planned_folders
from videoscene_cli.training.run_folder import Run

if TYPE_CHECKING:
    from stages.distill.model import Weights
    from stages.distill.phases import RunContext
    from stages.distill.pixel_losses import Perceptual
    from stages.distill.recipe_file import Phase


class StudentRun(Run):
    """A run that trains a student. clips: folders of shards of clips."""

    @cached_property
    def shards(self) -> tuple[Path, ...]:
        """Every shard, folder by folder. Without --clips, those of the recipe are made first.

        Raises InputError when a folder is missing or holds no shard.
        """
        folders = [Path(folder) for folder in self.clips or self.config.data.clips]
        if not self.clips:
            make_clips(self.config.data, self.run / "clips", self.session, self.workers)
            self.workers.wait()
            folders += planned_folders(self.config.data, self.run / "clips")
        shards: list[Path] = []
        for folder in folders:
            in_folder = sorted(folder.glob("*.safetensors"))
            if not in_folder:
                why = "it holds no shard (*.safetensors)"
                raise InputError(f"no training clips in {folder}", why, "name another --clips")
            shards += in_folder
        if not shards:
            why = "the recipe makes none, and --clips names no folder"
            raise InputError("no training clips", why, "name one with --clips")
        return tuple(shards)

    def planned_clips(self) -> list[str]:
        data = self.config.data
        counts = {folder: len(list(Path(folder).glob("*.safetensors"))) for folder in self.clips or data.clips}
        of_recipe = {} if self.clips else {"worlds": data.worlds, "recorded": data.recorded}
        made = {self.run / "clips" / kind: count for kind, count in of_recipe.items() if count}
        present = [f"{folder}: {count} shards" for folder, count in counts.items()]
        return present + [f"{folder}: {count} shards, made if missing" for folder, count in made.items()]

    @cached_property
    def setting(self) -> RunContext:
        """The network, its data and its device. Raises InputError, WeightsError, DeviceError."""
        from stages.distill.phases import RunContext
        from stages.distill.sharding import shard
        from stages.distill.starting_model import starting_model

        device, seed = self.device, self.session.shared.seed
        model, origin = starting_model(self.config, device, seed, hub_cache())
        shard(model, self.workers)
        shards, perceptual = self.shards, self._perceptual(device)
        return RunContext(self.config, model, self.run, shards, seed, origin, perceptual, device, self.workers)

    def _perceptual(self, device: Any) -> Perceptual | None:
        """LPIPS if the config uses it, otherwise None. Raises WeightsError when it is not installed."""
        if not self.config.perceptual_frames:
            return None
        from stages.distill.pixel_losses import Perceptual
        from stages.metrics.network_files import load

        return Perceptual(load("lpips-vgg", folder_of_networks(), device=device))

    def request(self, phase: Phase) -> Request:
        return Request("distill", {"phase": phase, **self.setting.identity(phase)}, {}, hashes=self.session.hashes)

    def require_start(self, phases: Sequence[Phase]) -> None:
        from stages.distill.phases import BEFORE, finished

        setting, before = self.setting, BEFORE[phases[0]]
        if before is not None:
            finished(setting, before)

    def descendants(self, phase: Phase) -> list[Phase]:
        from stages.distill.phases import descendants

        return descendants(phase)

    def train(self, phase: Phase, record: Record) -> None:
        from stages.distill.phases import clips_of, finished, train_phase
        from stages.distill.policy import RELEASED
        from stages.distill.weights_folder import write_policy, write_weights
        from stages.files.publish import publish

        record.device = str(self.setting.device)
        self.note_checkpoint(phase)
        policy, leap = None, RELEASED
        with record.stage(phase), self.session.report.progress(phase) as advance:
            if phase == "policy":
                policy, leap = self._train_policy(advance, record)
            else:
                train_phase(self.setting, phase, advance)
        if self.workers.rank:
            return
        request = self.request(phase)
        with publish(self.weights(phase)) as folder:
            prefix = self.setting.model.prefix
            weights = finished(self.setting, "student" if phase == "policy" else phase)
            files = write_weights(folder, self.config, weights, prefix, leap)
            files += [] if policy is None else [write_policy(folder, policy)]
            files += self._borrowed(folder)
            shards = clips_of(self.setting, phase).shards
            record.facts["clips"] = {name: shard.stat().st_size for name, shard in shards.items()}
            record.write_manifest(folder / "manifest.json", request, {file.name: file for file in files})

    def _train_policy(self, advance: Callable[[int, int], None], record: Record) -> tuple[Weights, int]:
        """Train DDPNet. Returns its weights, and the best fixed leap step for use without a policy."""
        from stages.distill.policy_training import train_policy

        policy, report = train_policy(self.setting, advance, advance)
        record.facts["policy"] = report
        figures = {key: report[key] for key in ("policy", "best fixed", "released", "oracle")}
        rewards = ", ".join(f"{key} {value:.5f}" for key, value in figures.items())
        what = f"policy: mean reward on {report['clips']} held-out clips"
        self.note(f"{what}: {rewards}; chosen {report['chosen']}")
        return policy, int(str(report["best fixed t"]))

    def _borrowed(self, folder: Path) -> list[Path]:
        """Add what else `generate` needs for cogvideox-5b: the text's embedding, and links to the base."""
        if self.config.model == "small":
            return []
        from stages.distill.starting_model import base_files

        files = base_files(self.config, hub_cache())
        for name, source in (("vae", files.vae), ("transformer", files.transformer)):
            if source is not None:
                (folder / name).symlink_to(source.resolve())
        return [Path(shutil.copy(files.prompt, folder / files.prompt.name))]
