"""What a config.yaml of a small student may say."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.errors import WeightsError
from stages.video.small_files import config_text, read_config
from stages.video.small_network import SMALL_VIDEO


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config_text(SMALL_VIDEO, 459))
    assert read_config(path) == (SMALL_VIDEO, 459)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"heads": 0}, "not from 1"),
        ({"middle": 10**9}, "not from 1"),
        ({"encoder": [3, -3]}, "not from 1"),
        ({"encoder": [3]}, "encoder"),
        ({"encoder": 3}, "encoder"),
        ({"heads": "4"}, "heads"),
        ({"heads": True}, "heads"),
        ({"heads": None}, "heads"),
        ({"head": 4}, "'head'"),
    ],
)
def test_sizes_that_are_none(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    path = tmp_path / "config.yaml"
    values = yaml.safe_load(config_text(SMALL_VIDEO, 459))
    path.write_text(yaml.safe_dump({**values, "network": {**values["network"], **change}}))
    with pytest.raises(WeightsError, match=told):
        read_config(path)


def test_a_size_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config_text(SMALL_VIDEO, 459).replace("  heads: 4\n", ""))
    with pytest.raises(WeightsError, match="heads"):
        read_config(path)
