"""Readers of JSON and YAML for untrusted files, and the hash that manifests record."""

import codecs
import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn

from stages.errors import InputError
from stages.files.os_errors import require_file

MAX_JSON_BYTES = 64 * 2**20  # 64 MiB, the size of a transforms.json with about 100,000 frames


MAX_YAML_BYTES = 2**20  # 1 MiB; recipes and lists of options have a few KiB
# Byte order marks and the encodings that they announce. That of UTF-16 begins like that of UTF-32, which goes first.
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def decode_text(data: bytes, errors: str = "strict") -> str:
    """Text that is UTF-8, or what its byte order mark says, without the mark.

    errors: what happens to bytes that are not UTF-8, as for bytes.decode.  Raises UnicodeDecodeError.
    """
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    return data.decode(encoding, errors if encoding.startswith("utf-8") else "strict")


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits. Raises InputError when the file cannot be read."""
    require_file(path, "check the path")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Read a JSON document. Raises InputError if it is missing, above 64 MiB or not JSON, or holds NaN or infinity."""
    require_file(path, "give a JSON file")
    what, hint = f"cannot read {path}", "check the file, or write it again"
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise InputError(what, f"{size} bytes, above {MAX_JSON_BYTES}", hint)
    try:
        return json.loads(decode_text(path.read_bytes()), parse_constant=_refuse)
    except RecursionError as error:
        raise InputError(what, "nested too deeply", hint) from error
    except OSError as error:
        raise InputError(what, error.strerror or str(error), hint) from error
    except ValueError as error:  # not UTF-8, not JSON, or a number with thousands of digits
        raise InputError(what, str(error), hint) from error


def read_yaml(path: Path, hint: str) -> Any:
    """Read a YAML document of plain values, None if empty. Raises InputError if it cannot be read.

    Values are those of YAML 1.2, in which yes is a word and 010 is ten, and no key may be given twice.
    """
    import yaml

    from stages.files.plain_yaml import load

    require_file(path, hint)
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise InputError(f"cannot read {path}", f"it has more than {MAX_YAML_BYTES} bytes", hint)
        return load(decode_text(path.read_bytes()))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {path}", " ".join(str(error).split()), hint) from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is no JSON number")
