"""`tacit compare` from run folders to the table; and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import tacit
from tacit.cli import main
from tacit.command import parse
from tacit.core.models import ModelRef
from tacit.core.run import check_result
from tacit.report.rows import Row
from tacit.synthesize import Gaussian
from tacit.verbs.compare import Compare

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """Run ``tacit compare WORDS`` in this process, in `tmp_path`: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["compare", *map(str, words)])
        spoken = capsys.readouterr()
        return code, spoken.out, spoken.err

    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, teacher_folder: Path) -> Path:
    """Real runs of one method with two seeds, of another with one, and one that was stopped before its end."""
    folder = tmp_path_factory.mktemp("runs")
    student = ModelRef(path="tacit.zoo:resnet", kwargs={"channels": 1, "width": 2})
    short = tacit.Training(steps=12, batch=32)
    for name, seed, source in (("noise-0", 0, None), ("noise-1", 1, None), ("real-0", 0, "data")):
        method = None if source else Gaussian(batch=64)
        tacit.distill(
            teacher=str(teacher_folder), student=student, data="digits", method=method, source=source, training=short,
            evaluations=3, seed=seed, out=folder / name,
        )  # fmt: skip
    shutil.copytree(folder / "noise-1", folder / "stopped")
    (folder / "stopped" / "result.json").unlink()
    return folder


def test_runs_become_a_table_a_picture_a_page_and_a_result(said: Said, runs: Path, tmp_path: Path) -> None:
    code, out, _ = said(*(runs / name for name in ("noise-0", "real-0", "noise-1", "stopped")))
    assert code == 0
    folder = tmp_path / "runs" / "compare"
    results = {name: json.loads((runs / name / "result.json").read_text()) for name in ("noise-0", "noise-1", "real-0")}
    result = json.loads((folder / "result.json").read_text())
    check_result(result)
    rows = {plain["name"]: Row.load(plain) for plain in result["metrics"]["rows"]}
    assert set(rows) == {"Gaussian", "real data"}
    accuracy, measured = rows["Gaussian"].student_accuracy, [results[f"noise-{seed}"]["metrics"]["student_accuracy"] for seed in (0, 1)]
    assert accuracy is not None
    assert accuracy.values == tuple(measured)
    assert accuracy.mean == pytest.approx(sum(measured) / 2)
    assert accuracy.sd == pytest.approx(abs(measured[0] - measured[1]) / 2**0.5)
    assert rows["Gaussian"].seeds == (0, 1)
    assert rows["Gaussian"].teacher == json.loads((runs / "noise-0" / "pool" / "pool.json").read_text())["provenance"]["teacher_sha256"]
    assert rows["real data"].sees_data
    curve = rows["Gaussian"].curve
    assert curve is not None
    assert curve.steps == (4, 8, 12)
    assert curve.mean[-1] == pytest.approx(accuracy.mean)
    assert f"{runs / 'stopped'} is left out: it is not finished" in out
    assert "the source differs" in out
    assert out.splitlines()[0].split()[0] == "run"
    table = (folder / "table.md").read_text()
    assert f"| {100 * accuracy.mean:.1f} ± {100 * (accuracy.sd or 0):.1f} |" in table
    assert "is left out" in table
    with Image.open(folder / "accuracy.png") as image:
        assert min(image.size) > 400
    assert "Comparison" in (folder / "report.html").read_text()
    assert out.rstrip().endswith("runs/compare/report.html")


def test_the_report_of_a_comparison_is_the_same_page(said: Said, runs: Path, tmp_path: Path) -> None:
    assert said(runs / "noise-0", runs / "noise-1", "--out", "c")[0] == 0
    page = tmp_path / "c" / "report.html"
    before = page.read_bytes()
    page.unlink()
    tacit.report(run_folder=tmp_path / "c")
    assert page.read_bytes() == before


def test_one_run_is_one_row_and_a_config_repeats_it(said: Said, runs: Path) -> None:
    code, out, _ = said(runs / "noise-0", "--out", "one", "--json")
    assert code == 0
    (row,) = json.loads(out)["metrics"]["rows"]
    assert row["student_accuracy"]["sd"] is None
    assert "±" not in Path("one/table.md").read_text().splitlines()[2]
    assert said("--config", "one/config.yaml", "--out", "two")[0] == 0
    assert Path("one/table.md").read_text() == Path("two/table.md").read_text()


def test_from_python(runs: Path, tmp_path: Path) -> None:
    outcome = tacit.compare(runs=[runs / "noise-0", str(runs / "noise-1"), runs / "noise-0"], out=tmp_path / "c")
    assert [row["runs"] for row in outcome.metrics["rows"]] == [(str(runs / "noise-0"), str(runs / "noise-1"))]
    assert tacit.compare(runs=str(runs / "noise-0"), out=tmp_path / "d").metrics["rows"][0]["seeds"] == (0,)


@pytest.mark.parametrize(
    "words",
    [
        ["a", "b", "c", "--out", "x"],
        ["a", "--out", "x", "b", "c"],
        ["--runs", "a", "b", "c", "--out=x"],
        ["--out=x", "--runs", '["a", "b", "c"]'],
        ["--runs=a", "b", "c", "--out", "x"],
    ],
)
def test_folders_may_be_given_in_any_way(words: list[str]) -> None:
    verb = parse("compare", words)
    assert isinstance(verb, Compare)
    assert [str(run) for run in verb.runs] == ["a", "b", "c"]
    assert verb.out == Path("x")


def test_other_verbs_take_one_word_as_before() -> None:
    with pytest.raises(tacit.InputError, match="unexpected word 'b'"):
        parse("report", ["a", "b"])


def refused(answer: tuple[int, str, str], words: str) -> None:
    code, out, err = answer
    assert code == 2, (out, err)
    assert out == ""
    assert err.startswith("tacit: ")
    assert len(err.strip().splitlines()) == 1
    assert words in err


def test_what_can_not_be_compared_is_refused_and_nothing_is_written(said: Said, runs: Path, tmp_path: Path) -> None:
    refused(said(), "give the run folders to compare, as `tacit compare runs/a runs/b`")
    refused(said("nowhere"), "nowhere is no run folder")
    refused(said(runs), f"{runs} is no run folder: expected one that a tacit verb wrote (it has config.yaml); there are 4 inside it")
    refused(said(runs / "stopped"), "none of these can be compared")
    shutil.copytree(runs / "noise-0", tmp_path / "broken")
    (tmp_path / "broken" / "result.json").write_text("{")
    refused(said("broken"), "is not readable JSON")
    assert not (tmp_path / "runs").exists()


def test_a_run_is_never_overwritten_by_its_comparison(said: Said, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "noise-0", tmp_path / "mine")
    before = (tmp_path / "mine" / "result.json").read_bytes()
    refused(said("mine", "--out", "mine"), "not empty")
    refused(said("mine", "--out", "mine", "--overwrite"), "holds mine, which is to be compared")
    assert (tmp_path / "mine" / "result.json").read_bytes() == before
    assert said("mine", "--out", "c")[0] == 0
    refused(said("mine", "--out", "c"), "not empty")
    assert said("mine", "--out", "c", "--overwrite")[0] == 0
