"""Frozen dataclasses from the plain values of a settings file, checked key by key."""

from __future__ import annotations

import json
from typing import Any, TypeVar, get_type_hints

from stages.errors import InputError

S = TypeVar("S")
NO_OTHER_KEYS = {"extra": "forbid"}  # value of __pydantic_config__ in a dataclass of settings, so that a wrong key is an error


def parse(kind: type[S], values: Any, where: str) -> S:
    """A dataclass, possibly nested, from a mapping. where: for error messages.

    Numbers and texts are not converted into each other. Raises InputError that names the key that is not understood
    and what is known.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        # JSON, as only its lists may become tuples when nothing else is converted.
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
    except (ValueError, RecursionError, TypeError) as error:  # a mapping that holds itself, or with keys that are no texts
        raise InputError(f"bad value in {where}", str(error), "correct the file") from error
    place = ": ".join([where, *map(str, first["loc"])])
    if first["type"] == "unexpected_keyword_argument":
        *sections, key = first["loc"]
        section: Any = kind
        for name in map(str, sections):
            section = get_type_hints(section)[name]
        known = ", ".join(sorted(get_type_hints(section)))
        raise InputError(f"unknown key in {place}", f"{key!r} is no setting", f"known: {known}")
    if first["type"] == "dataclass_type":
        raise InputError(f"bad value in {place}", f"it is {first['input']!r}, not a mapping", "write key: value lines")
    if first["type"] == "value_error":
        raise InputError(f"bad value in {place}", str(first["ctx"]["error"]), "correct the file")
    hint = first["msg"].replace("Input should be", "give")
    raise InputError(f"bad value in {place}", f"{first['input']!r} does not fit", hint)
