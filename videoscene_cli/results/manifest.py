"""What was asked for, whether it is already there, and the manifest that says how it was made.

A manifest is written last, so a result that has one is complete: it is the mark of "done" and the target of Make rules.
"""

from __future__ import annotations

import glob
import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.errors import InputError
from stages.files.documents import read_json, sha256_file
from stages.files.publish import require_replaceable
from videoscene_cli import __version__

SCHEMA = 1
REPLACE = "choose another -o, or replace it with --force"
PACKAGES = ("torch", "numpy", "pillow", "gsplat", "pycolmap", "kornia", "diffusers", "imageio-ffmpeg")


@dataclass(frozen=True)
class Request:
    """Everything that decides the pixels of a result: same request, same result.

    options: values that change pixels.  inputs: role -> file, hashed when the request is made.  weights: part -> name, file, sha256.
    """

    command: str
    options: Mapping[str, Any]
    inputs: Mapping[str, Path]
    weights: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The request as it is hashed, paths replaced by what the files hold. Raises InputError when an input cannot be read."""
        return {
            "command": self.command,
            "options": dict(self.options),
            "inputs": {role: sha256_file(path) for role, path in self.inputs.items()},
            "weights": {part: weights["sha256"] for part, weights in self.weights.items()},
            "version": __version__,
        }

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def differences(self, manifest: Mapping[str, Any]) -> list[str]:
        """What differs from the request of a manifest, one short text each."""
        other = _identity_of(manifest)
        told = []
        for group, value in self.identity.items():
            before = other.get(group)
            if isinstance(value, dict) and isinstance(before, dict):
                keys = [key for key in sorted({*value, *before}) if value.get(key) != before.get(key)]
                told += [f"{key} was {_short(before.get(key))}, now {_short(value.get(key))}" for key in keys]
            elif value != before:
                told.append(f"{group} was {before}, now {value}")
        return told


def _identity_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "command": manifest["command"],
        "options": manifest["options"],
        "inputs": {entry["role"]: entry["sha256"] for entry in manifest["inputs"]},
        "weights": {part: entry["sha256"] for part, entry in manifest["weights"].items()},
        "version": manifest["versions"]["videoscene-cli"],
    }


def _short(value: Any) -> str:
    return f"{value[:8]}..." if isinstance(value, str) and len(value) == 64 else str(value)


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest, with each of its outputs checked against its hash. Raises InputError when one is missing, altered or unreadable."""
    manifest: dict[str, Any] = read_json(path)
    try:
        outputs = {path.parent / output["path"]: output["sha256"] for output in manifest["outputs"]}
        if "fingerprint" not in manifest or not _identity_of(manifest):
            raise KeyError("fingerprint")
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"cannot use {path}", "it is no manifest of this program", "make that result again with --force") from error
    for output, expected in outputs.items():
        if not output.is_file():
            raise InputError(f"{output} is gone", f"{path} says that it was made", "make that result again with --force")
        if sha256_file(output) != expected:
            raise InputError(f"{output} has changed", f"it is not the file that {path} describes", "make that result again with --force")
    return manifest


def is_current(request: Request, manifest: Path, result: Path, force: bool, touch: bool = True, follow: bool = False) -> bool:
    """True when `result` already holds this very request (its manifest is then touched, for Make), False when it has to be made.

    Raises InputError, naming --force, when something else is there: another request, a changed file, or a result of someone else; with
    `force` only what publishing would refuse to replace after the work. follow: another request of the same command is replaced instead.
    """
    if force:
        require_replaceable(result, is_folder=manifest.parent == result)
    if force or not (result.exists() or manifest.exists()) or _left_by_a_killed_run(result, manifest):
        return False
    if not manifest.exists():
        raise InputError(f"{result} already exists", "it has no manifest, so this command did not make it", REPLACE)
    found = read_manifest(manifest)
    if found.get("fingerprint") == request.fingerprint:
        if touch:
            os.utime(manifest)
        return True
    if follow and found["command"] == request.command:
        return False
    why = "; ".join(request.differences(found)) or "its fingerprint differs"
    raise InputError(f"{result} holds another result", why, REPLACE)


def _left_by_a_killed_run(result: Path, manifest: Path) -> bool:
    """Whether a run was killed between publishing `result` and its manifest, whose hidden draft then names this very file."""
    for draft in manifest.parent.glob(f".{glob.escape(manifest.name)}.partial-*"):
        if draft.stat().st_size and result.is_file():
            outputs = {output["path"]: output["sha256"] for output in read_json(draft)["outputs"]}
            if outputs.get(result.name) == sha256_file(result):
                return True
    return False


@dataclass
class Record:
    """What happened while a result was made, for its manifest: seconds a stage, device, and facts of the stages."""

    device: str = "cpu"
    seconds: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; the times of one name add up."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)

    def write_manifest(self, path: Path, request: Request, outputs: Mapping[str, Path]) -> None:
        """Write the manifest of a result, the last of its files. outputs: path relative to the manifest's place -> the file now."""
        identity = request.identity
        manifest = {
            "schema": SCHEMA,
            "command": request.command,
            "fingerprint": request.fingerprint,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": request.options.get("seed"),
            "options": identity["options"],
            "inputs": [{"role": role, "path": str(file), "sha256": identity["inputs"][role]} for role, file in request.inputs.items()],
            "outputs": [{"path": name, "sha256": sha256_file(file)} for name, file in sorted(outputs.items())],
            "weights": dict(request.weights),
            "seconds": self.seconds,
            "peak_memory_bytes": peak_memory(),
            "versions": {"videoscene-cli": __version__, **versions()},
            "device": self.device,
            **self.facts,
        }
        path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def peak_memory() -> int:
    """The most memory this process has held, in bytes (ru_maxrss is in kilobytes, on macOS in bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that results may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
