"""An error keeps its three lines when it crosses processes."""

import pickle

import pytest

from stages.errors import DeviceError, InputError, RunError, StageError, WeightsError


@pytest.mark.parametrize("kind", [StageError, InputError, RunError, WeightsError, DeviceError])
def test_survives_pickling(kind: type[StageError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what", "why", "hint")))
    assert type(error) is kind
    assert (error.what, error.why, error.hint, str(error)) == ("what", "why", "hint", "what: why")
