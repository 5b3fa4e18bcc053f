"""Turns the plain values of a settings file into a dataclass, and names a key that does not fit."""

import json
from typing import Any, TypeVar, get_type_hints

from stages.errors import InputError

S = TypeVar("S")
# A dataclass of settings has this as its __pydantic_config__, so that a key that it does not know is an error.
NO_OTHER_KEYS = {"extra": "forbid"}


def parse(kind: type[S], values: Any, where: str) -> S:
    """A dataclass of type `kind`, which may hold others, from a mapping.

    where: the file or setting that error messages name.  Text is not converted to numbers, nor numbers to text.
    Raises InputError, which names the first key that is unknown or whose value does not fit.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        # The values go through JSON because pydantic's strict mode turns lists into tuples only there.
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
    except (ValueError, RecursionError, TypeError) as error:  # a mapping holds itself, or has a key that is not text
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
