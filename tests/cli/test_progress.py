"""The bar on a terminal: what is done, how long is left, and what the stage says about it."""

import io
import sys

import pytest

from videoscene_cli.terminal.report import Report


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return made


def test_a_bar_shows_what_the_stage_says_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    with Report().progress("reconstruct") as advance:
        for step in range(1, 11):
            advance(step, 10, f"reconstruct: loss 0.1, PSNR {10 + step}.0 dB")
    assert "PSNR 20.0 dB" in shown.getvalue()
    assert "100%" in shown.getvalue()
    assert "0:00:00" in shown.getvalue()


def test_a_quiet_command_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    with Report(quiet=True).progress("reconstruct") as advance:
        advance(1, 2, "text")
        advance(2, 2)
    assert shown.getvalue() == ""
