"""From the name or path of weights to a verified file.

Order: --weights, $VIDEOSCENE_WEIGHTS (both through options.Shared), the folder shipped in the package, a path.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import stages
from stages.errors import InputError, WeightsError
from stages.files.documents import read_json
from stages.files.file_hashes import NOT_HASHED, FileHashes

SHIPPED = Path(stages.__file__).parent / "weights"


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights on this machine, with its hash."""

    name: str
    path: Path
    sha256: str

    def record(self) -> dict[str, str]:
        """The record for the manifest."""
        return {"name": self.name, "file": self.path.name, "sha256": self.sha256}


def find_weights(name: str, part: str, hashes: FileHashes) -> WeightsFile:
    """The file of one part ("prior") of the weights `name`, which is a known name or the path of a file or folder.

    Raises WeightsError when there is none, or when its hash is not that in its folder's manifest.
    """
    shipped = sorted(folder.name for folder in SHIPPED.iterdir() if folder.is_dir()) if SHIPPED.is_dir() else []
    if name in shipped:
        return _in_folder(name, SHIPPED / name, part, hashes)
    path = Path(name)
    if path.is_dir():
        return _in_folder(name, path, part, hashes)
    if path.is_file():
        return WeightsFile(name, path, hashes.of(path))
    hint = f"known names: {', '.join(shipped)}; or a path"
    raise WeightsError(f"no {part} weights {name!r}", "it is neither a known name nor a file or folder", hint)


def hub_cache() -> Path:
    """The cache of the Hugging Face hub: $VIDEOSCENE_CACHE, or the hub's own."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(os.environ.get("VIDEOSCENE_CACHE") or HF_HUB_CACHE)


def _in_folder(name: str, folder: Path, part: str, hashes: FileHashes) -> WeightsFile:
    path = folder / f"{part}.safetensors"
    if not path.is_file():
        why = f"{path.name} is missing"
        raise WeightsError(f"no {part} weights in {folder}", why, "install again, or give another --weights")
    weights = WeightsFile(name, path, hashes.of(path))
    manifest = folder / "manifest.json"
    if manifest.is_file():
        try:
            outputs = {output["path"]: output["sha256"] for output in read_json(manifest)["outputs"]}
            expected = str(outputs.get(path.name, "nothing"))
        except (InputError, KeyError, TypeError) as error:
            why = f"{manifest.name} is no manifest of this program"
            hint = "install again, or give another --weights"
            raise WeightsError(f"cannot verify the weights in {folder}", why, hint) from error
        _verify(weights, expected)
    return weights


def _verify(weights: WeightsFile, expected: str) -> None:
    if weights.sha256 not in (expected, NOT_HASHED):
        why = f"sha256 is {weights.sha256[:16]}..., expected {expected[:16]}..."
        raise WeightsError(f"damaged weights {weights.path}", why, "delete the file and install or download it again")
