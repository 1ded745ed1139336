"""Suites `demo` and `speed`: what is run again, and what a failure leaves."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import demo, speed
from benchmarks.__main__ import main, parser
from tacit.core.errors import InputError

ROOT = Path(demo.__file__).resolve().parents[1]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Commands and seeds that were run; `tacit demo` with seed 1 ends with an error."""
    found: list[tuple[str, str]] = []

    def run(words: list[str], **_: Any) -> Any:
        if words[1:3] != ["-m", "tacit.cli"]:
            return SimpleNamespace(stdout="")  # git
        command, seed = words[3], words[words.index("--seed") + 1]
        found.append((command, seed))
        if (command, seed) == ("demo", "1"):
            raise subprocess.CalledProcessError(1, words)
        return SimpleNamespace(stdout=json.dumps({"seed": int(seed), "metrics": {"student_accuracy": 0.5}}))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("benchmarks.results.write", lambda home: (home / "RESULTS.md").write_text("written"))
    return found


def test_a_failing_seed_stops_no_other_and_what_is_there_is_run_again_where_it_is_asked(
    ran: list[tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path)]) == 1
    every = [(command, seed) for seed in "012" for command in ("demo", "federate")]
    assert ran == every
    assert "demo, seed 1: FAILED" in capsys.readouterr().err
    assert (tmp_path / "RESULTS.md").exists()
    assert sorted(file.name for file in (tmp_path / "results/demo").iterdir()) == [
        *("federate-seed0.json", "federate-seed1.json", "federate-seed2.json"),
        *("seed0.json", "seed2.json"),
    ]
    kept = json.loads((tmp_path / "results/demo/seed0.json").read_text())
    assert {*kept} == {"seed", "metrics", "wall_seconds", "code"}
    ran.clear()
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert ran == [("demo", "1")]
    ran.clear()
    assert main(["demo", "--again", "--seeds", "0", "--out", str(tmp_path)]) == 0
    assert ran == [("demo", "0"), ("federate", "0")]


def test_make_bench_measures_though_there_are_results() -> None:
    words = re.search(r"\$\(if \$\(SUITE\),[^,]*,(demo[^)]*)\)", (ROOT / "Makefile").read_text())
    assert words is not None
    options = parser().parse_args(shlex.split(words[1]))
    assert (options.again, options.out, options.seeds) == (True, Path("bench"), [0, 1, 2])


def test_a_result_of_speed_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / speed.KEPT).parent.mkdir()
    (tmp_path / speed.KEPT).write_text("of before")
    monkeypatch.setattr(speed, "_step", lambda **_: 1.0)
    monkeypatch.setattr(speed, "_moments", dict)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(InputError, match="what was there before is untouched"):
            speed.main(parser().parse_args(["speed", "--again"]), tmp_path)
    assert (tmp_path / speed.KEPT).read_text() == "of before"
    assert speed.main(parser().parse_args(["speed"]), tmp_path) == 0
    assert (tmp_path / speed.KEPT).read_text() == "of before", "measured though it is there"
    assert speed.main(parser().parse_args(["speed", "--again"]), tmp_path) == 0
    assert {step["ms"] for step in json.loads((tmp_path / speed.KEPT).read_text())["steps"]} == {1.0}
