"""`videoscene distill` in a process that dies at a chosen place, for tests that kill it there."""

import os
import signal
import sys
from typing import Any

from stages.distill import checkpoints, training_loop
from videoscene_cli import app


def run(arguments: list[str], phase: str, place: str) -> None:
    """Run a command line that is killed as by `kill -9`, in the third step of a phase or as it saves a checkpoint."""
    step, save = training_loop.Trainer._step, checkpoints.write_json

    def dying_step(self: training_loop.Trainer) -> dict[str, float]:
        told = step(self)
        if place == "step" and self.task.phase == phase and self.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return told

    def dying_save(path: Any, document: Any) -> None:
        if place == "save" and f"/{phase}/" in str(path) and document["step"] == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        save(path, document)

    training_loop.Trainer._step = dying_step  # type: ignore[method-assign]
    checkpoints.write_json = dying_save
    sys.exit(app.run(arguments))
