"""From the name or path of weights to a verified file.

Order: --weights, $VIDEOSCENE_WEIGHTS (both through options.Shared), the folder shipped in the package, the Hugging Face cache, a download.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import stages
from stages.errors import InputError, WeightsError
from stages.files.documents import read_json, sha256_file
from videoscene_cli.terminal.report import Report

SHIPPED = Path(stages.__file__).parent / "weights"


@dataclass(frozen=True)
class Release:
    """One published file of weights: where it is on the Hugging Face hub, pinned to a commit, and what it must hash to."""

    repo: str
    file: str
    revision: str
    sha256: str
    megabytes: int


# (name, part) -> release. Nothing of ours is on the hub yet: `small` ships in the package, other weights are given by path.
RELEASES: dict[tuple[str, str], Release] = {}


@dataclass(frozen=True)
class WeightsFile:
    """Weights that exist on this machine, with their hash."""

    name: str
    path: Path
    sha256: str

    def record(self) -> dict[str, str]:
        """For the manifest."""
        return {"name": self.name, "file": self.path.name, "sha256": self.sha256}


def find_weights(name: str, part: str, report: Report, releases: dict[tuple[str, str], Release] = RELEASES) -> WeightsFile:
    """The file of one part ("prior") of the weights called `name`, a known name or the path of a file or folder.

    Raises WeightsError when there is none, or when its hash is not the one in its table or manifest.
    """
    shipped = sorted(folder.name for folder in SHIPPED.iterdir() if folder.is_dir()) if SHIPPED.is_dir() else []
    if name in shipped:
        return _in_folder(name, SHIPPED / name, part)
    if (name, part) in releases:
        return _on_hub(name, releases[name, part], report)
    path = Path(name)
    if path.is_dir():
        return _in_folder(name, path, part)
    if path.is_file():
        return WeightsFile(name, path, sha256_file(path))
    known = ", ".join(sorted({*shipped, *(key[0] for key in releases)}))
    raise WeightsError(f"no {part} weights {name!r}", "it is neither a known name nor a file or folder", f"known names: {known}; or a path")


def hub_cache() -> Path:
    """Where the files of the Hugging Face hub are kept: $VIDEOSCENE_CACHE, or its own place."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(os.environ.get("VIDEOSCENE_CACHE") or HF_HUB_CACHE)


def _in_folder(name: str, folder: Path, part: str) -> WeightsFile:
    path = folder / f"{part}.safetensors"
    if not path.is_file():
        raise WeightsError(f"no {part} weights in {folder}", f"{path.name} is missing", "install again, or give another --weights")
    found = WeightsFile(name, path, sha256_file(path))
    manifest = folder / "manifest.json"
    if manifest.is_file():
        try:
            hashes = {output["path"]: output["sha256"] for output in read_json(manifest)["outputs"]}
            expected = str(hashes.get(path.name, "nothing"))
        except (InputError, KeyError, TypeError) as error:
            why = f"{manifest.name} is no manifest of this program"
            raise WeightsError(f"cannot verify the weights in {folder}", why, "install again, or give another --weights") from error
        _verify(found, expected)
    return found


def _on_hub(name: str, release: Release, report: Report) -> WeightsFile:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    fetch = functools.partial(
        hf_hub_download, release.repo, release.file, revision=release.revision, cache_dir=os.environ.get("VIDEOSCENE_CACHE")
    )
    try:
        path = fetch(local_files_only=True)
    except LocalEntryNotFoundError:
        report.note(f"downloading {release.repo}/{release.file}, {release.megabytes} MB")
        try:
            path = fetch()
        except (OSError, HfHubHTTPError) as error:
            hint = f"download {release.file} by hand and give --weights PATH, or use --weights small"
            raise WeightsError(f"cannot download the weights {name!r}", " ".join(str(error).split())[:200], hint) from error
    found = WeightsFile(name, Path(path), sha256_file(Path(path)))
    _verify(found, release.sha256)
    return found


def _verify(found: WeightsFile, expected: str) -> None:
    if found.sha256 != expected:
        why = f"sha256 is {found.sha256[:16]}..., expected {expected[:16]}..."
        raise WeightsError(f"damaged weights {found.path}", why, "delete the file and install or download it again")
