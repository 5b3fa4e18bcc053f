"""The manifest of a result, which says how it was made.

It is written last, so a result with a manifest is complete. Make rules use it as their target.
"""

import importlib.metadata
import json
import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stages.errors import InputError
from stages.files.documents import read_json
from stages.files.file_hashes import NOT_HASHED, FileHashes
from videoscene_cli import __version__
from videoscene_cli.results.request import Request, identity_of

SCHEMA = 1  # version of the manifest's format
# Packages whose version can change a result.
PACKAGES = ("torch", "numpy", "pillow", "gsplat", "pycolmap", "kornia", "diffusers", "imageio-ffmpeg")


def read_manifest(path: Path, hashes: FileHashes) -> dict[str, Any]:
    """Read a manifest and check its outputs against their hashes.

    Raises InputError if one is missing, changed or unreadable.
    """
    manifest: dict[str, Any] = read_json(path)
    try:
        outputs = {path.parent / output["path"]: output["sha256"] for output in manifest["outputs"]}
        if "fingerprint" not in manifest or not identity_of(manifest):
            raise KeyError("fingerprint")
    except (AttributeError, KeyError, TypeError) as error:
        why = "it is not a manifest of this program"
        raise InputError(f"cannot use {path}", why, "make the result again with --force") from error
    for output, expected in outputs.items():
        if not output.is_file():
            raise InputError(f"{output} is gone", f"{path} lists it", "make the result again with --force")
        if hashes.of(output) not in (expected, NOT_HASHED):
            why = f"it is not the file that {path} describes"
            raise InputError(f"{output} has changed", why, "make the result again with --force")
    return manifest


@dataclass
class Record:
    """The facts of a run, for the manifest of its result: device, seconds of each stage, and facts from the stages."""

    device: str = "cpu"
    seconds: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage. The times of stages with the same name are added."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)

    def write_manifest(self, path: Path, request: Request, outputs: Mapping[str, Path]) -> None:
        """Write the manifest of a result. outputs: path relative to the manifest's folder -> where the file is now."""
        identity = request.identity
        manifest = {
            "schema": SCHEMA,
            "command": request.command,
            "fingerprint": request.fingerprint,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": request.options.get("seed"),
            "options": identity["options"],
            "inputs": [
                {"role": role, "path": str(file), "sha256": identity["inputs"][role]}
                for role, file in request.inputs.items()
            ],
            "outputs": [{"path": name, "sha256": request.hashes.of(file)} for name, file in sorted(outputs.items())],
            "weights": dict(request.weights),
            "seconds": self.seconds,
            "peak_memory_bytes": peak_memory(),
            "versions": {"videoscene-cli": __version__, **versions()},
            "device": self.device,
            **self.facts,
        }
        path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def peak_memory() -> int:
    """The largest memory that this process has held, in bytes. (ru_maxrss is in kilobytes, but on macOS in bytes.)"""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def versions() -> dict[str, str]:
    """The versions of Python and of PACKAGES."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            installed[package] = "not installed"
    return installed
