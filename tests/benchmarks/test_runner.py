"""What runs the suites: several as one command, refused input, jobs whose outcome can't be put into words."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import federated, runner
from benchmarks.__main__ import main
from tacit.core.errors import InputError


def job(folder: Path, number: int, **options: Any) -> runner.Job:
    return runner.Job(title=f"job {number}", file=folder / f"{number}.json", work="toyjobs:double", arguments={"number": number}, **options)


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


@pytest.mark.parametrize("side_by_side", [0, 2])
def test_an_outcome_that_cannot_be_put_into_words_stops_no_other_run(
    side_by_side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(outcome: Mapping[str, Any]) -> str:
        return f"twice is {outcome['twice' if outcome['twice'] != 2 else 'thrice']}"

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    assert runner.run([job(tmp_path, number) for number in (1, 2, 3)], side_by_side=side_by_side, say=say) == 1
    said = capsys.readouterr()
    assert "job 1: FAILED" in said.err
    assert "KeyError: 'thrice'" in said.err
    assert "job 2: twice is 4" in said.out
    assert "job 3: twice is 6" in said.out
    assert [json.loads((tmp_path / f"{number}.json").read_text())["twice"] for number in (1, 2, 3)] == [2, 4, 6]
