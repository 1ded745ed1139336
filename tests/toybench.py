"""What tests of benchmarks share: smoke runs of a suite, quickly."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import main

__all__ = ["smoke"]


def smoke(home: Path, *words: str) -> None:
    """Do the smoke runs of a suite; the page, which takes longer than a run, is left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.results.write", lambda home: None)
        assert main([*words, "--smoke", "--out", str(home)]) == 0, " ".join(words)
