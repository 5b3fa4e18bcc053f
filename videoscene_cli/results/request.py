"""What a command was asked for: all that decides the pixels of its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.files.file_hashes import FileHashes
from videoscene_cli import __version__


@dataclass(frozen=True)
class Request:
    """Everything that decides the pixels of a result: same request, same result.

    options: values that change pixels.  inputs: role -> file.  weights: part -> name, file, sha256.
    hashes: of the files of this command, each computed once.
    """

    command: str
    options: Mapping[str, Any]
    inputs: Mapping[str, Path]
    weights: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hashes: FileHashes = field(default_factory=FileHashes, compare=False, repr=False)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The request as it is hashed: instead of paths, the hashes of the files. InputError for an unreadable input."""
        return {
            "command": self.command,
            "options": dict(self.options),
            "inputs": {role: self.hashes.of(path) for role, path in self.inputs.items()},
            "weights": {part: weights["sha256"] for part, weights in self.weights.items()},
            "version": __version__,
        }

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def differences(self, manifest: Mapping[str, Any]) -> list[str]:
        """What differs from the request of a manifest, one short text each."""
        other = identity_of(manifest)
        told = []
        for group, value in self.identity.items():
            before = other.get(group)
            if isinstance(value, dict) and isinstance(before, dict):
                keys = [key for key in sorted({*value, *before}) if value.get(key) != before.get(key)]
                told += [f"{key} was {_short(before.get(key))}, now {_short(value.get(key))}" for key in keys]
            elif value != before:
                told.append(f"{group} was {before}, now {value}")
        return told


def identity_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of the request of a manifest.

    Raises KeyError, TypeError or AttributeError when it is no manifest of this program.
    """
    return {
        "command": manifest["command"],
        "options": manifest["options"],
        "inputs": {entry["role"]: entry["sha256"] for entry in manifest["inputs"]},
        "weights": {part: entry["sha256"] for part, entry in manifest["weights"].items()},
        "version": manifest["versions"]["videoscene-cli"],
    }


def _short(value: Any) -> str:
    return f"{value[:8]}..." if isinstance(value, str) and len(value) == 64 else str(value)
