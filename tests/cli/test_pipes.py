"""The command line in a pipe whose reader goes away."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_a_reader_that_has_heard_enough_is_no_error_to_be_told(words: list[str]) -> None:
    child = subprocess.Popen([sys.executable, "-m", "tacit", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == ""
    child.stderr.close()
    assert child.wait() == 1
