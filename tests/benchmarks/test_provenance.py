"""What every run keeps of the code that made it, and of what ran beside it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import runner
from benchmarks.provenance import beside, code


def git(root: Path, *words: str) -> str:
    named = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    return subprocess.run(["git", *named, *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_is_kept_and_whether_what_decides_differs_from_it(tmp_path: Path) -> None:
    assert (code(root=tmp_path)["commit"], code(root=tmp_path)["changed"]) == (None, None)
    git(tmp_path, "init", "-q")
    for name in ("src/a.py", "benchmarks/b.py", "benchmarks/results/c.json", "docs/d.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    found = code(3, tmp_path)
    assert (found["commit"], found["changed"], found["jobs"]) == (git(tmp_path, "rev-parse", "HEAD"), False, 3)
    assert found["load"] >= 0
    for name in ("benchmarks/results/c.json", "docs/d.md", "benchmarks/results/new.json"):
        (tmp_path / name).write_text("2")
    assert code(root=tmp_path)["changed"] is False
    for name in ("src/a.py", "benchmarks/b.py", "benchmarks/new.py"):
        (tmp_path / name).write_text("2")
        assert code(root=tmp_path)["changed"] is True, name
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-qm", name)


@pytest.mark.parametrize(("side_by_side", "together"), [(0, 1), (1, 1), (3, 2)])
def test_every_run_keeps_it_and_nothing_is_compared_with_it(
    side_by_side: int, together: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    jobs = [
        runner.Job(title="", file=tmp_path / f"{number}.json", work="toyjobs:double", arguments={"number": number}) for number in (1, 2)
    ]
    assert runner.run(jobs, side_by_side=side_by_side, say=str) == 0
    for job in jobs:
        kept = json.loads(job.file.read_text())
        assert kept["code"]["jobs"] == together
        assert {*kept} == {"twice", "process", "threads", "code"}
        assert {key: kept["code"][key] for key in ("commit", "changed")} == {key: code()[key] for key in ("commit", "changed")}
        job.file.write_text(json.dumps({**kept, "settings": {"lr": 1}, "code": {"commit": "of another day", "changed": True}}))
        assert runner.state(replace(job, settings={"lr": 1})) == "done"


def test_what_ran_beside_is_told_as_far_as_it_is_kept() -> None:
    assert beside([]) == ""
    assert beside([{}, {}]) == "\nWhat ran beside was not kept (2 runs).\n"
    runs = [{"code": {"jobs": jobs, "load": load}} for jobs, load in ((1, 0.4), (1, 2.26), (2, 1.0))]
    assert beside([*runs, {}, {"code": {"jobs": None, "load": 4}}]) == (
        "\nWhat ran beside, of 5 runs: 2 alone, 1 with up to 1 of the other runs, 2 of which it was not kept. "
        "Load average as they began: 0.4 to 4.0.\n"
    )
