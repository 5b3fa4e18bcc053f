"""A scene folder (README, "A scene on disk"): what each command puts there and how the next one gets it back."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.errors import InputError
from stages.files.documents import sha256_file
from videoscene_cli.results.manifest import REPLACE, Record, Request, read_manifest

if TYPE_CHECKING:
    from stages.prior.predict import Prediction
    from stages.scene import Clip, Gaussians, Views

INPUTS = ("0.png", "1.png")
STAGES = ("inputs", "prior", "render", "generate")


def require_stage(scene: Path, stage: str, hint: str) -> dict[str, Any]:
    """The manifest of a stage of the scene that is done and undamaged; InputError otherwise."""
    if not scene.is_dir():
        raise InputError(f"no scene {scene}", "there is no such folder", hint)
    manifest = scene / stage / "manifest.json"
    if not manifest.is_file():
        raise InputError(f"the scene {scene} has no finished {stage}", f"{manifest} is missing", hint)
    return read_manifest(manifest)


def require_chain(scene: Path, last: str, hint: str) -> dict[str, dict[str, Any]]:
    """The manifests of a scene's prior, render and, with `last` generate, its clip: finished, undamaged, each made from the one before.

    InputError otherwise.
    """
    chain = {stage: require_stage(scene, stage, hint) for stage in (last, *(s for s in ("render", "prior") if s != last))}
    now = {output["path"]: output["sha256"] for output in chain["prior"]["outputs"]}
    then = {each["role"]: each["sha256"] for each in chain["render"]["inputs"]}
    if (then.get("gaussians"), then.get("cameras")) != (now.get("gaussians.ply"), now.get("transforms.json")):
        raise InputError(f"the render of {scene} is of another prior", "the prior was replaced since", f"videoscene render {scene} --force")
    if last == "generate" and chain[last]["options"].get("render") != chain["render"]["fingerprint"]:
        why, mend = "the render was replaced since", f"videoscene generate {scene} --force"
        raise InputError(f"the clip of {scene} is of another render", why, mend)
    return chain


def check_inputs_folder(scene: Path) -> None:
    """Raise InputError when the scene's inputs folder holds files that are not ours and would be lost."""
    folder = scene / "inputs"
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in INPUTS) if folder.is_dir() else []
    if foreign:
        raise InputError(f"{folder} holds other files", f"{foreign[0]} would be lost", "choose another -o")


def save_prior(scene: Path, views: Views, prediction: Prediction, request: Request, record: Record) -> None:
    """Publish inputs/ and then prior/, both complete before either replaces an earlier one."""
    from stages.files.clip_folder import write_depth_maps
    from stages.files.images import write_png
    from stages.files.ply import write_ply
    from stages.files.publish import flush, publish
    from stages.files.transforms import write_transforms

    # The last one is renamed first: a run that is killed between the two then leaves inputs/ without a prior, and the next goes on.
    with record.stage("write"), publish(scene / "prior") as folder, publish(scene / "inputs") as inputs:
        for name, image in zip(INPUTS, views.images, strict=True):
            write_png(inputs / name, image)
        write_ply(folder / "gaussians.ply", prediction.gaussians, ply_comments(request))
        unit = write_depth_maps(folder, INPUTS, prediction.depth)
        record.facts |= unit | {"gaussians": count_by_photograph(prediction.gaussians)}
        write_transforms(folder / "transforms.json", views.cameras, [f"../inputs/{name}" for name in INPUTS], unit)
        outputs = {f"../inputs/{name}": inputs / name for name in INPUTS} | _files(folder)
        record.write_manifest(folder / "manifest.json", request, outputs)
        flush(folder)  # now, so that nothing slow comes between the two renames


def ply_comments(request: Request) -> list[str]:
    """Facts of the run for a PLY header."""
    options = " ".join(f"{key}={value}" for key, value in sorted(request.options.items()))
    return [f"videoscene {request.identity['version']} {request.command} {options}".strip(), f"fingerprint {request.fingerprint}"]


def load_prior(scene: Path) -> tuple[Gaussians, Views]:
    """The Gaussians of a scene, which know their photograph, and its two photographs with their cameras.

    Raises InputError when the manifest does not say how many Gaussians, first ones first, come from each photograph.
    """
    from stages.files.clip_folder import read_views
    from stages.files.documents import read_json
    from stages.files.ply import read_ply

    gaussians, manifest = read_ply(scene / "prior" / "gaussians.ply"), scene / "prior" / "manifest.json"
    match read_json(manifest):
        case {"gaussians": [int(first), int(second)]} if min(first, second) >= 0 and first + second == len(gaussians):
            return by_photograph(gaussians, first), read_views(scene / "prior")
    why = "it does not say which Gaussians come from which photograph"
    raise InputError(f"cannot use {manifest}", why, f"videoscene prior A B -o {scene} --force")


def count_by_photograph(gaussians: Gaussians) -> list[int]:
    """How many come from each of the two photographs, whose Gaussians the prior puts one after the other."""
    return [len(gaussians.of_photograph(k)) for k in (0, 1)]


def by_photograph(gaussians: Gaussians, first: int) -> Gaussians:
    """Gaussians of which the first ones, `first` of them, come from the first photograph and the others from the second."""
    from dataclasses import replace

    import torch

    return replace(gaussians, photograph=(torch.arange(len(gaussians)) >= first).to(torch.uint8))


def load_render(scene: Path) -> Clip:
    """The rendered clip of a scene, from its PNG frames."""
    from stages.files.clip_folder import read_clip

    return read_clip(scene / "render")


def save_clip(folder: Path, clip: Clip, request: Request, record: Record) -> None:
    """Publish a clip as a stage of a scene, its manifest last."""
    from stages.files.clip_folder import write_clip
    from stages.files.publish import publish

    with record.stage("write"), publish(folder) as partial:
        write_clip(partial, clip)
        record.write_manifest(partial / "manifest.json", request, _files(partial))


def check_copies(scene: Path, target: Path, stages: Sequence[str], force: bool) -> None:
    """Raise InputError when copying these stages would replace others in the target, unless forced."""
    for stage in stages if target != scene and not force else ():
        here, there = (_mark(folder / stage) for folder in (scene, target))
        if (target / stage).exists() and here != there:
            raise InputError(f"{target} holds another scene", f"its {stage} would be replaced by the one of {scene}", REPLACE)


def _mark(stage: Path) -> Any:
    """What tells two results of a stage apart: the fingerprint of its manifest, or for inputs the hashes of the photographs."""
    if stage.name == "inputs":
        return [sha256_file(stage / name) if (stage / name).is_file() else None for name in INPUTS]
    manifest = stage / "manifest.json"
    return read_manifest(manifest)["fingerprint"] if manifest.is_file() else None


def copy_stages(scene: Path, target: Path, stages: Sequence[str]) -> None:
    """Give a new scene folder the inputs and earlier stages of another one; nothing to do when they are the same folder."""
    from stages.files.publish import publish

    if target == scene:
        return
    for stage in stages:
        with publish(target / stage) as partial:
            shutil.copytree(scene / stage, partial, dirs_exist_ok=True)


def _files(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
