"""What runs the suites: several as one command, refused input, jobs whose outcome can't be put into words."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compression, compression_plans, federated, runner
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


SUITES = {
    "data_free": ["--suite", "mnist"],
    "segmentation": [],
    "claims": ["--claim", "cmi-diversity"],
    "compression": ["--suite", "low-bit"],
    "representation": ["--suite", "cpu"],
    "federated": ["--suite", "mnist"],
}
"""A suite of each subject; those that are made by files of their own: below."""
OWN = {"compression latency": ["--suite", "latency"], "representation cost": ["--suite", "cost"]}


@pytest.mark.parametrize(("subject", "words"), [*SUITES.items(), *OWN.items()])
def test_a_row_that_there_is_not_is_refused_everywhere_with_those_that_there_are(
    subject: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [subject.partition(" ")[0], *words, "--list", "--out", str(tmp_path), "--rows"]
    assert main([*asked, "qqqqq"]) == 2
    known = capsys.readouterr().err.partition("has no row called 'qqqqq'; known: ")[2].strip()
    assert known
    first = {"claims": "CMI", "compression": "W4A4 real", "compression latency": "32x32", "representation cost": "fp32"}.get(subject, "")
    assert known.startswith(first)
    one = first or known.partition(", ")[0]
    assert main([*asked, one.swapcase()]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) > 1
    assert not [line for line in shown[:-1] if f"{one}, seed " not in line]


def test_names_are_chosen_in_their_order_whatever_their_case() -> None:
    assert runner.chosen("some", None, ["DAFL", "CMI"]) == ["DAFL", "CMI"]
    assert runner.chosen("some", ["cmi", "dafl"], ["DAFL", "noise", "CMI"]) == ["DAFL", "CMI"]
    with pytest.raises(InputError, match=r"^--pairs: suite some has no pair called 'CM'; did you mean 'CMI'\? Known: DAFL, CMI$"):
        runner.chosen("some", ["CM"], ["DAFL", "CMI"], option="--pairs", what="pair")


def test_data_free_rows_have_a_second_spelling(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = []
    for option in ("--rows", "--methods"):
        assert main(["data_free", "--suite", "mnist", "--list", "--out", str(tmp_path), "--pairs", "LeNet5", option, "dfad"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert said[0].endswith("mnist/lenet5 DFAD, seed 2: to do\n0 of 3 done\n")


def test_a_seed_outside_a_suite_is_taken_by_rows_without_seeds_of_their_own() -> None:
    suite = compression_plans.SUITES["low-bit"]
    made = {job.arguments["row"] for job in compression.jobs(suite, seeds=[3])}
    assert made == {row.label for row in suite.rows if row.seeds is None}
    assert {"W4A4 BNS", "W4A4 real"} <= made
    assert "W4A4 BNS, pool 1" not in made


@pytest.mark.parametrize(
    ("words", "together"),
    [
        (["compression", "--suite", "latency"], 1),
        (["compression", "--suite", "w8a8"], 1),
        (["compression", "--suite", "pruning"], 2),
        (["representation", "--suite", "cost"], 1),
        (["compression", "--suite", "latency", "--jobs", "2"], 2),
    ],
)
def test_runs_that_are_timed_go_one_at_a_time_unless_it_is_asked_otherwise(
    words: list[str], together: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def run(jobs: Sequence[runner.Job], *, side_by_side: int, **_: Any) -> int:
        if jobs and "pool" not in jobs[0].arguments:
            asked.append(side_by_side)
        return 0

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr("benchmarks.results.write", lambda home: None)
    for module in ("compression", "representation"):
        monkeypatch.setattr(f"benchmarks.{module}.checked_data", lambda *_: None)
    assert main([*words, "--out", str(tmp_path)]) == 0
    assert asked == [together]
