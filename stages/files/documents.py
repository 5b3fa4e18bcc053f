"""Readers of JSON and YAML for untrusted files, and the hash that manifests record."""

import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn

from stages.errors import InputError
from stages.files.os_errors import require_file

MAX_JSON_BYTES = 64 * 2**20  # 64 MiB, the size of a transforms.json with about 100,000 frames


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits. Raises InputError when the file cannot be read."""
    require_file(path, "check the path")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Read a JSON document. Raises InputError: missing, larger than 64 MiB, not JSON, or with NaN or infinity."""
    require_file(path, "give a JSON file")
    what, hint = f"cannot read {path}", "check the file, or write it again"
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise InputError(what, f"{size} bytes, above {MAX_JSON_BYTES}", hint)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse)
    except RecursionError as error:
        raise InputError(what, "nested too deeply", hint) from error
    except OSError as error:
        raise InputError(what, error.strerror or str(error), hint) from error
    except ValueError as error:  # not UTF-8, not JSON, or a number with thousands of digits
        raise InputError(what, str(error), hint) from error


def read_yaml(path: Path, hint: str) -> Any:
    """Read a YAML document of plain values (safe_load), None if empty. Raises InputError if it cannot be read."""
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {path}", " ".join(str(error).split()), hint) from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is no JSON number")
