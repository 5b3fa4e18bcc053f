import importlib
from pathlib import Path

TESTS = Path(__file__).parents[1]
OURS = ("stages", "tests", "videoscene_cli")


def test_every_measuring_tool_can_be_loaded_so_that_no_renamed_function_is_missed() -> None:
    tools = [path for folder in ("tools", "gpu") for path in sorted((TESTS / folder).glob("*.py"))]
    broken = {}
    for path in tools:
        try:
            importlib.import_module(f"tests.{path.parent.name}.{path.stem}")
        except ImportError as error:  # an extra that is not installed is no fault
            if (error.name or "").startswith(OURS):
                broken[path.name] = str(error)
    assert broken == {}
