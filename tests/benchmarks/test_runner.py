"""What runs the suites: several as one command, refused input."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks import federated
from benchmarks.__main__ import main
from tacit.core.errors import InputError


@pytest.mark.parametrize(
    ("refused", "failing", "code", "written"),
    [([], [], 0, True), ([], ["head"], 1, True), (["mnist"], ["head"], 2, True), (["mnist", "head", "dense"], [], 2, False)],
)
def test_a_suite_that_refuses_its_input_stops_no_other(
    refused: list[str],
    failing: list[str],
    code: int,
    written: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tried: list[str] = []

    def run(options: argparse.Namespace, home: Path) -> int:
        tried.append(options.suite)
        if options.suite in refused:
            raise InputError("expected something else")
        return int(options.suite in failing)

    monkeypatch.setattr(federated, "main", run)
    monkeypatch.setattr("benchmarks.results.write", lambda home: (home / "RESULTS.md").write_text("written"))
    assert main(["federated", "--suite", "mnist", "head", "dense", "--out", str(tmp_path)]) == code
    assert tried == ["mnist", "head", "dense"]
    assert (tmp_path / "RESULTS.md").exists() == written
    assert capsys.readouterr().err == "".join(f"benchmarks: {name}: expected something else\n" for name in refused)
