"""A scene folder (README, "A scene on disk"): each command writes a stage into it, and the next one reads it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.errors import InputError
from stages.files.file_hashes import FileHashes
from videoscene_cli.results.manifest import Record, read_manifest
from videoscene_cli.results.produce import REPLACE
from videoscene_cli.results.request import Request

if TYPE_CHECKING:
    from stages.files.stored_clip import StoredClip
    from stages.pipeline import CoarseScene
    from stages.prior.memory import Workload
    from stages.scene import Gaussians, Views

INPUTS = ("0.png", "1.png")  # names of the two photographs
STAGES = ("inputs", "prior", "render", "generate")  # folders of the chain, in order


class SceneFolder:
    """A scene on disk. hashes: the hashes of this command's files, so a stage is verified only once."""

    def __init__(self, path: Path, hashes: FileHashes) -> None:
        self.path, self._hashes = path, hashes

    def require_folder(self, hint: str) -> None:
        """Raise InputError when there is no folder. hint: what to do then."""
        if not self.path.is_dir():
            if self.path.exists():
                raise InputError(f"no scene {self.path}", "it is a file", "give the folder of a scene")
            raise InputError(f"no scene {self.path}", "there is no such folder", hint)

    def require(self, stage: str, hint: str) -> dict[str, Any]:
        """The manifest of a stage. Raises InputError unless the stage is finished and undamaged."""
        from stages.files.image_decoding import photographs_in

        self.require_folder(hint)
        if not any((self.path / name).is_dir() for name in STAGES):
            if photographs_in(self.path):
                hint = f"name two photographs, or: videoscene generate --pairs {self.path} -o OUT"
            raise InputError(f"{self.path} is no scene of this program", describe_folder(self.path), hint)
        manifest = self.path / stage / "manifest.json"
        if not manifest.is_file():
            raise InputError(f"the scene {self.path} has no finished {stage}", f"{manifest} is missing", hint)
        return read_manifest(manifest, self._hashes)

    def require_chain(self, last: str, hint: str) -> dict[str, dict[str, Any]]:
        """The manifests of the prior, of the render and, if `last` is generate, of the clip.

        Raises InputError unless all are finished and undamaged, and each was made from the one before it.
        """
        chain = {stage: self.require(stage, hint) for stage in (last, *(s for s in ("render", "prior") if s != last))}
        # The render must come from this prior, and the clip from this render.
        current = {output["path"]: output["sha256"] for output in chain["prior"]["outputs"]}
        used = {each["role"]: each["sha256"] for each in chain["render"]["inputs"]}
        expected = (current.get("gaussians.ply"), current.get("transforms.json"))
        if (used.get("gaussians"), used.get("cameras")) != expected:
            why, command = "the prior was replaced since", f"videoscene render {self.path} --force"
            raise InputError(f"the render of {self.path} is of another prior", why, command)
        if last == "generate" and chain[last]["options"].get("render") != chain["render"]["fingerprint"]:
            why, command = "the render was replaced since", f"videoscene generate {self.path} --force"
            raise InputError(f"the clip of {self.path} is of another render", why, command)
        return chain

    def check_inputs(self) -> None:
        """Raise InputError when the folder inputs/ holds foreign files, which would be lost."""
        folder = self.path / "inputs"
        foreign = sorted(path.name for path in folder.iterdir() if path.name not in INPUTS) if folder.is_dir() else []
        if foreign:
            raise InputError(f"{folder} holds other files", f"{foreign[0]} would be lost", "choose another -o")

    def save_prior(self, scene: CoarseScene, request: Request, record: Record) -> None:
        """Publish inputs/ and prior/. Both are complete before one of them replaces an older one."""
        from stages.files.clip_folder import write_depth_maps
        from stages.files.images import write_png
        from stages.files.ply import write_ply
        from stages.files.publish import flush, publish
        from stages.files.transforms import write_transforms

        # inputs/ is renamed first. A run that is killed between the two leaves inputs/ without a prior; the next run
        # makes it.
        with record.stage("write"), publish(self.path / "prior") as folder, publish(self.path / "inputs") as inputs:
            full = scene.views.full or scene.views
            for name, image in zip(INPUTS, full.images, strict=True):
                write_png(inputs / name, image)
            write_ply(folder / "gaussians.ply", scene.gaussians, ply_comments(request))
            unit = write_depth_maps(folder, INPUTS, scene.views.depth)
            record.facts |= unit | {"gaussians": len(scene.gaussians)}
            images = [f"../inputs/{name}" for name in INPUTS]
            write_transforms(folder / "transforms.json", full.cameras, images, unit)
            outputs = {f"../inputs/{name}": inputs / name for name in INPUTS} | files_below(folder)
            record.write_manifest(folder / "manifest.json", request, outputs)
            flush(folder)  # Now, so that nothing slow happens between the two renames.

    def load_prior(self) -> tuple[Gaussians, Views]:
        """The Gaussians of the scene, and its two photographs with cameras and depth.

        Raises InputError when the PLY does not say which photograph each Gaussian comes from.
        """
        from stages.files.clip_folder import read_views
        from stages.files.ply import read_ply

        gaussians = read_ply(self.path / "prior" / "gaussians.ply")
        if gaussians.photograph is None:
            what = f"cannot use {self.path / 'prior' / 'gaussians.ply'}"
            hint = f"videoscene prior A B -o {self.path} --force"
            why = "it does not say which photograph each Gaussian comes from; files do since version 0.2.0"
            raise InputError(what, why, hint)
        return gaussians, read_views(self.path / "prior")

    def load_cloud(self) -> Gaussians:
        """The one cloud of a finished scene."""
        from stages.files.ply import read_ply

        return read_ply(self.path / "generate" / "gaussians.ply")

    def load_clip(self, stage: str) -> StoredClip:
        """The clip of a stage."""
        from stages.files.clip_folder import read_clip

        return read_clip(self.path / stage)

    def workload(self, stage: str, frames: int | None = None, repairs: bool = False, refines: bool = False) -> Workload:
        """The work of a command that reads the scene. Its frames are as large as those of `stage`.

        frames: their number; None for as many as `stage` has.
        """
        from stages.files.transforms import read_transforms
        from stages.prior.memory import Workload
        from stages.sizes import network_size

        cameras = read_transforms(self.path / stage / "transforms.json")[0]
        view, count = math.prod(network_size(cameras.size)), len(cameras) if frames is None else frames
        return Workload(0, view, count, math.prod(cameras.size), predicts=False, repairs=repairs, refines=refines)

    def save_clip(
        self, stage: str, clip: StoredClip, request: Request, record: Record, cloud: Gaussians | None = None
    ) -> None:
        """Publish a clip as a stage, with a cloud of Gaussians for viewers or without. The manifest is written last."""
        from stages.files.clip_folder import write_clip
        from stages.files.ply import write_ply
        from stages.files.publish import publish

        with record.stage("write"), publish(self.path / stage) as partial:
            write_clip(partial, clip)
            if cloud is not None:
                write_ply(partial / "gaussians.ply", cloud, ply_comments(request))
            record.write_manifest(partial / "manifest.json", request, files_below(partial))

    def check_copies(self, target: SceneFolder, stages: Sequence[str]) -> None:
        """Raise InputError when copying these stages would replace others in the target folder."""
        for stage in stages if target.path != self.path else ():
            if (target.path / stage).exists() and self._mark(stage) != target._mark(stage):
                why = f"its {stage} would be replaced by the one of {self.path}"
                raise InputError(f"{target.path} holds another scene", why, REPLACE)

    def copy_stages(self, target: SceneFolder, stages: Sequence[str]) -> None:
        """Copy stages of this scene to a new scene folder. Does nothing if it is the same folder."""
        from stages.files.publish import publish

        for stage in stages if target.path != self.path else ():
            with publish(target.path / stage) as partial:
                shutil.copytree(self.path / stage, partial, dirs_exist_ok=True)

    def _mark(self, stage: str) -> Any:
        """What distinguishes two results of a stage: the fingerprint in its manifest, or the photographs' hashes."""
        folder = self.path / stage
        if stage == "inputs":
            return [self._hashes.of(folder / name) if (folder / name).is_file() else None for name in INPUTS]
        manifest = folder / "manifest.json"
        return read_manifest(manifest, self._hashes)["fingerprint"] if manifest.is_file() else None


def ply_comments(request: Request) -> list[str]:
    """Comments for a PLY header that say which run wrote it."""
    options = " ".join(f"{key}={value}" for key, value in sorted(request.options.items()))
    program = f"videoscene {request.identity['version']} {request.command} {options}".strip()
    return [program, f"fingerprint {request.fingerprint}"]


def describe_folder(folder: Path) -> str:
    """What a folder that is no scene holds, for an error message."""
    from stages.files.image_decoding import photographs_in

    photographs = len(photographs_in(folder))
    if photographs:
        return f"it holds {photographs} photograph{'s' if photographs > 1 else ''} and none of {', '.join(STAGES)}"
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    below = next((sub for sub in sorted(folder.iterdir()) if sub.is_dir() and photographs_in(sub)), None)
    if below is not None:
        return f"its photographs are one level down, in {below}"
    if not files:
        return f"it holds none of {', '.join(STAGES)}"
    endings = ", ".join(sorted({path.suffix.lower() or "none" for path in files})[:4])
    return f"it holds {len(files)} file{'s' if len(files) > 1 else ''}, none in a format that is read ({endings})"


def files_below(folder: Path) -> dict[str, Path]:
    """All files below a folder, by their relative path."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
