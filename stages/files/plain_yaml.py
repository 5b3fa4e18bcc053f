"""YAML of plain values, by the core schema of YAML 1.2 (section 10.3.2). PyYAML's own schema is that of YAML 1.1.

In YAML 1.1 yes and on are true, 010 is eight, 4:16 is 256, and 1e-3 is text. PyYAML lets the last of two equal keys
win.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import yaml

TAG = "tag:yaml.org,2002:"
MOST_VALUES = 100_000  # largest number of values in one document


class PlainLoader(yaml.SafeLoader):
    """A loader of the core schema that refuses a key that is given twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A dict. Raises yaml.YAMLError when two keys are equal."""
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            keys = Counter(self.construct_object(key, deep=True) for key, _ in node.value)
            twice = str(keys.most_common(1)[0][0])[:40]
            raise yaml.constructor.ConstructorError(None, None, f"{twice} is given twice", node.start_mark)
        return mapping

    def construct_number(self, node: yaml.ScalarNode) -> int:
        """An integer in base ten, or after 0x or 0o in base sixteen or eight."""
        text = node.value
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


def load(text: str) -> Any:
    """The value of a YAML document, None if it is empty. Raises yaml.YAMLError or ValueError when it is malformed.

    Also raises yaml.YAMLError when its aliases stand for more than MOST_VALUES values. A few lines can stand for
    billions.
    """
    loader = PlainLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > MOST_VALUES:
            raise yaml.composer.ComposerError(
                None, None, "its aliases (*name) stand for too many values", node.start_mark
            )
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for. known: of the nodes that were counted already, by id.

    A node that holds itself stands for too many.
    """
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1
        children = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_count(child, known) for child in children)
    return known[id(node)]


def _plain(name: str, pattern: str, first: Iterable[str]) -> None:
    PlainLoader.add_implicit_resolver(TAG + name, re.compile(rf"(?:{pattern})\Z"), list(first))


_plain("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_plain("null", "~|null|Null|NULL|", ["~", "n", "N", ""])
_plain("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789")
_plain("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789")
_plain("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.")
PlainLoader.add_constructor(TAG + "int", PlainLoader.construct_number)
