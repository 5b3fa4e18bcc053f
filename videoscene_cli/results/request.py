"""The request of a command: everything that decides the pixels of its result."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.files.file_hashes import NOT_HASHED, FileHashes
from videoscene_cli import __version__


@dataclass(frozen=True)
class Request:
    """Everything that decides the pixels of a result. The same request gives the same result.

    options: values that change pixels.  inputs: role -> file.  weights: part -> name, file, sha256.
    hashes: the hashes of this command's files, each computed once.
    """

    command: str
    options: Mapping[str, Any]
    inputs: Mapping[str, Path]
    weights: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hashes: FileHashes = field(default_factory=FileHashes, compare=False, repr=False)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The request in the form that is hashed, with hashes in place of paths.

        Raises InputError for an unreadable input.
        """
        return {
            "command": self.command,
            "options": dict(self.options),
            "inputs": {role: self.hashes.of(path) for role, path in self.inputs.items()},
            "weights": {part: weights["sha256"] for part, weights in self.weights.items()},
            "version": __version__,
        }

    def check_inputs(self) -> None:
        """Raise InputError when an input is missing or unreadable, as the run itself would."""
        for path in self.inputs.values():
            self.hashes.of(path)

    @property
    def is_hashed(self) -> bool:
        """Whether the hash of every file is known; --dry-run reads no large file."""
        return NOT_HASHED not in (*self.identity["inputs"].values(), *self.identity["weights"].values())

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def differences(self, manifest: Mapping[str, Any]) -> list[str]:
        """How the request differs from that of a manifest: one short text per difference that is known."""
        other = identity_of(manifest)
        texts = []
        for group, value in self.identity.items():
            before = other.get(group)
            if isinstance(value, dict) and isinstance(before, dict):
                keys = [key for key in sorted({*value, *before}) if value.get(key) not in (before.get(key), NOT_HASHED)]
                texts += [f"{key} was {_short(before.get(key))}, now {_short(value.get(key))}" for key in keys]
            elif value != before:
                texts.append(f"{group} was {before}, now {value}")
        return texts


def identity_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of a manifest's request.

    Raises KeyError, TypeError or AttributeError when it is not a manifest of this program.
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
