"""Values of YAML 1.2, as people who write `no`, `010` or `1e-3` mean them."""

from pathlib import Path
from typing import Any

import pytest

from stages.errors import InputError
from stages.files.documents import read_yaml


def value(tmp_path: Path, text: str, encoding: str = "utf-8") -> Any:
    (tmp_path / "c.yaml").write_text(text, encoding=encoding)
    return read_yaml(tmp_path / "c.yaml", "write YAML")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("yes", "yes"), ("off", "off"), ("true", True), ("False", False), ("~", None), ("", None)),
        *(("010", 10), ("0o10", 8), ("0x10", 16), ("-3", -3), ("4:16", "4:16"), ("1_000", "1_000")),
        *(("1e-3", 0.001), ("-.5", -0.5), ("2.", 2.0), ("2001-09-09", "2001-09-09"), ("'7'", "7")),
        ("{a: [1, yes], b: {c: null}}", {"a": [1, "yes"], "b": {"c": None}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ],
)
def test_plain_values(tmp_path: Path, text: str, expected: object) -> None:
    found = value(tmp_path, text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "a is given twice"),
        ("x: {a: 1, a: 1}", "a is given twice"),
        ("a: &a [*a]", "aliases"),
        ("a0: &a0 [x, x]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 20)), "aliases"),
        ("!!python/object/apply:os.system ['true']", "python"),
        ("? [1]\n: 2", "unhashable"),
        ("!!int no", "invalid literal"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError) as found:
        value(tmp_path, text)
    assert words in found.value.why


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path, encoding: str) -> None:
    assert value(tmp_path, "size: 96\n", encoding) == {"size": 96}


def test_a_large_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bytes"):
        value(tmp_path, "[" * 2**21)
