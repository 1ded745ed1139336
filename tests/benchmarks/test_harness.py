"""The harness of the benchmarks: every suite end to end on generated data, runs that are kept, runs that fail, the tables made of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tacit
from benchmarks import data_free, plots, runner, tables, teachers
from benchmarks.__main__ import main
from benchmarks.places import HOME, TEACHERS_HOME, made_up
from benchmarks.plans import Pair, Suite, slug
from benchmarks.suites import SUITES, TEACHERS
from tacit.core.device import Clock
from tacit.core.errors import InputError
from tacit.core.models import import_object
from tacit.core.run import check_result
from toybench import smoke

EVERYWHERE = ("noise", "DFAD")


def tried() -> dict[tuple[str, str], list[str]]:
    """Return which rows are tried here, by suite and pair: each with the first pair that has it, a few with every pair."""
    found: dict[tuple[str, str], list[str]] = {}
    seen: set[str] = set()
    for name, suite in SUITES.items():
        for pair in suite.pairs:
            labels = [row.label for row in suite.on(pair)]
            found[name, pair.name] = [label for label in labels if label in EVERYWHERE or label not in seen]
            seen.update(labels)
    return found


TRIED = tried()


def job(folder: Path, number: int, **options: Any) -> runner.Job:
    return runner.Job(title=f"job {number}", file=folder / f"{number}.json", work="toyjobs:double", arguments={"number": number}, **options)


def twice(outcome: Mapping[str, Any]) -> str:
    return f"twice is {outcome['twice']}"


@pytest.fixture(scope="session")
def smoked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of smoke runs of all suites."""
    home = tmp_path_factory.mktemp("benchmarks")
    for (name, pair), rows in TRIED.items():
        smoke(home, "data_free", "--suite", name, "--pairs", pair, "--methods", *rows)
    return home


@pytest.mark.parametrize("name", SUITES)
def test_every_row_runs_and_every_pair(name: str, smoked: Path) -> None:
    suite = SUITES[name]
    for pair in suite.pairs:
        for row in (row for row in suite.on(pair) if row.label in TRIED[name, pair.name]):
            run = json.loads((smoked / "results/data_free" / name / pair.name / f"{slug(row.label)}-seed0.json").read_text())
            check_result({key: value for key, value in run.items() if key not in data_free.OWN})
            assert (run["suite"], run["pair"], run["row"], run["seed"]) == (name, pair.name, row.label, 0)
            assert run["student_steps"] == 2
            assert run["curve"][-1][1] == run["metrics"]["student_accuracy"]
            assert [seconds for seconds, _ in run["curve"]] == sorted(seconds for seconds, _ in run["curve"])
            assert (run["settings"]["method"] is None) == (row.method is None)
            assert run["verb"] == ("train" if row.labels else "distill")
            assert bool(run["images_synthesized"]) == (row.method is not None)


def test_all_runs_of_a_pair_have_the_same_teacher_and_student(smoked: Path) -> None:
    for pair in SUITES["mnist"].pairs:
        runs = [json.loads(file.read_text()) for file in (smoked / "results/data_free/mnist" / pair.name).glob("*.json")]
        assert len({run["teacher"]["sha256"] for run in runs}) == 1
        assert len({json.dumps(run["settings"]["student"]) for run in runs}) == 1
        assert {run["row"] for run in runs} == set(TRIED["mnist", pair.name])


PAIRS = [pytest.param(suite, pair, id=f"{suite.name}/{pair.name}") for suite in SUITES.values() for pair in suite.pairs]


@pytest.mark.parametrize(("suite", "pair"), PAIRS)
def test_all_rows_have_the_same_optimiser_and_budget_but_those_that_say_so(suite: Suite, pair: Pair) -> None:
    rows = suite.on(pair)
    trained = {row.label: suite.training_of(pair, row) for row in rows}
    assert {replace(training, steps=1, lr=1.0) for training in trained.values()} == {replace(suite.training, steps=1, lr=1.0)}
    usual = {"steps": suite.training.steps, "lr": pair.lr or suite.training.lr}
    for name, value in usual.items():
        found = {label: getattr(training, name) for label, training in trained.items()}
        own = {row.label: getattr(row, name) for row in rows if getattr(row, name) is not None}
        assert found == dict.fromkeys(found, value) | own
    seconds = {row.label: data_free.settings(suite, pair, row)["max_seconds"] for row in rows}
    own = {row.label: row.max_seconds for row in rows if row.max_seconds is not None}
    assert seconds == {row.label: suite.max_seconds if row.method else None for row in rows} | own
    assert all(row.seeds == (0,) for row in rows if row.max_seconds is not None)


@pytest.mark.parametrize(("suite", "pair"), PAIRS)
def test_a_run_is_given_what_its_settings_say(suite: Suite, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    verbs = SimpleNamespace(train=lambda **given: asked.append(given), distill=lambda **given: asked.append(given))
    monkeypatch.setattr(data_free, "tacit", verbs)
    for row in suite.on(pair):
        data_free.outcome_of(suite, pair, row, seed=1, data=Path("data"), teacher=Path("teacher"), folder=Path("run"))
        given, settings = asked[-1], data_free.settings(suite, pair, row)
        assert asdict(given["training"]) == settings["training"]
        assert given.get("max_seconds") == settings["max_seconds"]
        assert given.get("objective") == settings["objective"]
        assert (given["augmentation"], given["precision"]) == (settings["augmentation"], settings["precision"])
        assert ("teacher" in given) == (not row.labels)
    assert len(asked) == len(suite.on(pair))


def test_what_is_there_is_not_run_again_and_what_is_missing_is(smoked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data_free", "--suite", "mnist", "--smoke", "--out", str(smoked), "--pairs", "resnet8", "--methods", "noise", "DFAD"]
    noise, dfad = (smoked / "results/data_free/mnist/resnet8" / f"{name}-seed0.json" for name in ("noise", "DFAD"))
    before = {file: file.stat().st_mtime_ns for file in (noise, dfad)}
    noise.unlink()
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "resnet8 noise, seed 0: " in said
    assert "DFAD" not in said
    assert noise.stat().st_mtime_ns != before[noise]
    assert dfad.stat().st_mtime_ns == before[dfad]


def test_a_run_of_a_process_of_its_own_is_that_of_this_process(smoked: Path, tmp_path: Path) -> None:
    words = ["data_free", "--suite", "mnist", "--smoke", "--pairs", "lenet5", "--methods", "NOISE"]
    assert main([*words, "--jobs", "1", "--out", str(tmp_path)]) == 0
    apart, here = (json.loads((home / "results/data_free/mnist/lenet5/noise-seed0.json").read_text()) for home in (tmp_path, smoked))
    assert apart["metrics"]["confusion"] == here["metrics"]["confusion"]
    assert apart["settings"] == here["settings"]


def test_the_first_seed_of_everything_comes_first() -> None:
    for suite in SUITES.values():
        made = data_free.jobs(suite)
        seeds = [job.arguments["seed"] for job in made]
        assert seeds == sorted(seeds)
        assert len({job.file for job in made}) == len(made)


def test_every_suite_has_what_its_figures_are_read_against() -> None:
    for suite in SUITES.values():
        for pair in suite.pairs:
            assert {"real", "kd-real", "noise"} <= {row.label for row in suite.on(pair)}
            assert TEACHERS[pair.teacher].dataset is suite.dataset
        known = {pair.name for pair in suite.pairs}
        assert all(set(row.pairs) <= known for row in suite.rows)


def test_jobs_run_apart_with_their_threads_and_a_failure_stops_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [job(tmp_path, 3), job(tmp_path, -1), job(tmp_path, 4, threads=2)]
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    assert runner.run(jobs, side_by_side=2, say=twice) == 1
    said = capsys.readouterr()
    assert "job 3: twice is 6" in said.out
    assert "job -1: FAILED" in said.err
    assert "no negative numbers" in said.err
    kept = [json.loads((tmp_path / f"{number}.json").read_text()) for number in (3, 4)]
    assert [one["threads"] for one in kept] == ["1", "2"]
    assert len({os.getpid(), *(one["process"] for one in kept)}) == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["3.json", "4.json"]


def test_a_smoke_run_does_not_go_among_real_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data_free", "--suite", "mnist", "--smoke", "--out", str(HOME), "--methods", "noise"]) == 2
    assert "holds the real results" in capsys.readouterr().err


def test_results_of_other_settings_are_kept_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "1.json").write_text('{"twice": 2, "settings": {"lr": 0.1}}')
    assert runner.run([job(tmp_path, 1, settings={"lr": 0.1})], side_by_side=0, say=twice) == 0
    assert "other settings" not in capsys.readouterr().out
    assert runner.run([job(tmp_path, 1, settings={"lr": 0.2})], side_by_side=0, say=twice) == 0
    assert "done with other settings; --again runs it anew" in capsys.readouterr().out
    assert json.loads((tmp_path / "1.json").read_text())["settings"] == {"lr": 0.1}
    assert runner.run([job(tmp_path, 1, settings={"lr": 0.2})], side_by_side=0, say=twice, again=True) == 0
    assert "1 of 1 runs to do" in capsys.readouterr().out
    assert "process" in json.loads((tmp_path / "1.json").read_text())  # written anew


def test_results_of_another_teacher_are_not_done(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/model.json").write_text('{"sha256": "abc"}')
    one = replace(job(tmp_path, 1), arguments={"teachers": str(tmp_path)})
    for kept, said in (
        ({"teacher": {"name": "net", "sha256": "abc"}}, "done"),
        ({"teacher": {"name": "net", "sha256": "def"}}, "done with another teacher"),
        ({"teachers": [{"name": "net", "sha256": "abc"}], "judge": {"name": "net", "sha256": "def"}}, "done with another teacher"),
        ({"teachers": [{"name": "elsewhere", "sha256": "def"}]}, "done"),  # not here, so that nothing can be said
    ):
        (tmp_path / "1.json").write_text(json.dumps(kept))
        assert runner.state(one) == said


@pytest.mark.parametrize(("words", "message"), [
    (["--suite", "mnist", "--data", "nowhere"], "no data at"),
    (["--suite", "mnist", "--methods", "DFADD", "--smoke"], "did you mean 'DFAD'"),
    (["--suite", "mnist", "--pairs", "resnet9", "--smoke"], "did you mean 'resnet8'"),
])  # fmt: skip
def test_bad_input_is_one_line(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data_free", *words, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "RESULTS.md").exists()


def test_a_list_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data_free", "--suite", "mnist", "--list", "--out", str(tmp_path)]) == 0
    assert "mnist/resnet8 DFAD, seed 2: to do" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_page_sorts_rows_and_names_what_is_missing(smoked: Path, tmp_path: Path) -> None:
    suite = SUITES["mnist"]
    pair = suite.pairs[0]
    kept = json.loads((smoked / "results/data_free/mnist/resnet8/DFAD-seed0.json").read_text())
    place = tmp_path / "results/data_free/mnist/resnet8"
    place.mkdir(parents=True)
    for row, seed, accuracy in (("noise", 0, 0.8), ("DFAD", 0, 0.97), ("DFAD", 2, 0.99), ("Gone", 0, 0.5)):
        run = {**kept, "row": row, "seed": seed, "metrics": {**kept["metrics"], "student_accuracy": accuracy}}
        run["settings"] = {**kept["settings"], "objective": "l1=1" if row == "DFAD" else "kd=1", "max_seconds": 300 if seed == 0 else 1200}
        (place / f"{row}-seed{seed}.json").write_text(json.dumps(run))
    labels = [line.label for line in tables.lines_of(suite, pair, tmp_path)]
    assert labels[:3] == ["DFAD", "noise", "Gone"]
    assert sorted(labels) == sorted({*(row.label for row in suite.on(pair)), "Gone"})
    plots.data_free(tmp_path)
    page = tables.data_free(tmp_path)
    assert "| `DFAD` | 97.00 | not run yet | 99.00 | 98.00 ± 1.41 |" in page
    assert "`DFAD` (seed 1)" in page
    assert "`noise` (seed 1, 2)" in page
    assert re.search(r"`kd-real`[^;]*\(seed 0, 1, 2\)", page)
    assert "`Gone` (no longer in the suite)" in page
    assert "its seeds were run with different settings" in page
    assert "objective `l1=1`" in page
    assert "98.30 (LeNet-5 -> LeNet-5-half)" in page
    assert "figures/mnist-resnet8.png" in page
    assert (tmp_path / "figures" / "mnist-resnet8.png").read_bytes().startswith(b"\x89PNG")
    assert "figures/mnist-lenet5.png" not in page
    assert "- every method that was run (1) has at least 95 %: yes." in page
    assert page.count("Seconds are what a row's process spends on the CPU; those of `real` and `kd-real`") == 3, "of the suites on a CPU"
    assert page.count("Seconds are wall time") == 1
    assert "- aims of single ones: DFAD 98: yes." in page
    assert "**Run before its settings changed (" in page
    assert "`DFAD` (seed 2)" in page.partition("**Run before its settings changed (")[2]


def test_longer_runs_stand_below_the_others_and_are_in_no_verdict(smoked: Path, tmp_path: Path) -> None:
    suite, kept = SUITES["mnist"], json.loads((smoked / "results/data_free/mnist/resnet8/DFAD-seed0.json").read_text())
    place = tmp_path / "results/data_free/mnist/resnet8"
    place.mkdir(parents=True)
    for row, accuracy in (("DFAD", 0.97), ("ZSKD, 4 x", 0.9), ("ZSKD", 0.96), ("noise", 0.5)):
        run = {**kept, "row": row, "metrics": {**kept["metrics"], "student_accuracy": accuracy}}
        (place / f"{slug(row)}-seed0.json").write_text(json.dumps(run))
    assert [line.label for line in tables.lines_of(suite, suite.pairs[0], tmp_path)][:4] == ["DFAD", "ZSKD", "noise", "ZSKD, 4 x"]
    page = tables.data_free(tmp_path)
    assert "- every method that was run (2) has at least 95 %: yes." in page
    assert "Of a larger budget, and therefore below the others, and in no verdict: `ZSKD, 4 x`." in page


def test_the_page_says_where_a_budget_reached_less_far(smoked: Path, tmp_path: Path) -> None:
    kept = json.loads((smoked / "results/data_free/mnist/resnet8/DFAD-seed0.json").read_text())
    place = tmp_path / "results/data_free/mnist/resnet8"
    place.mkdir(parents=True)
    most = kept["settings"]["training"]["steps"] = 4000
    for row, seed, steps in (
        ("DFAD", 0, 2000),
        ("DFAD", 1, 1000),
        ("MSKD", 0, most),
        ("MSKD", 1, 3000),
        ("CMI", 0, most),
        ("CMI", 1, most),
    ):
        run = {**kept, "row": row, "seed": seed, "metrics": {**kept["metrics"], "steps": steps}}
        (place / f"{row}-seed{seed}.json").write_text(json.dumps(run))
    assert "of the first one's student steps, in the mean: seed 1 62 % (`DFAD` 50 %, `MSKD` 75 %)." in tables.data_free(tmp_path)
    (place / "DFAD-seed1.json").unlink()
    (place / "MSKD-seed1.json").unlink()
    assert "A budget of seconds reaches" not in tables.data_free(tmp_path)


def test_what_the_suites_were_to_show_is_judged_by_the_rows_that_ran(tmp_path: Path, smoked: Path) -> None:
    kept = json.loads((smoked / "results/data_free/cifar10-cpu/resnet20-resnet8/DFAD-seed0.json").read_text())
    place = tmp_path / "results/data_free/cifar10-cpu/resnet20-resnet8"
    place.mkdir(parents=True)
    for row, accuracy in (("noise", 0.15), ("DFAD", 0.2), ("CMI", 0.6)):
        run = {**kept, "row": row, "seed": 0, "metrics": {**kept["metrics"], "student_accuracy": accuracy}}
        (place / f"{row}-seed0.json").write_text(json.dumps(run))
    page = tables.data_free(tmp_path)
    assert "- the best, `CMI`, has 60.00 %, at least 45: yes." in page
    assert "- the best, `CMI`, has 60.00 %, aim 70: **no**." in page
    assert "at least 10 points above noise (15.00); not `DFAD` (20.00): **no**." in page


def test_on_a_cpu_the_budget_counts_seconds_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = SUITES["mnist"]
    clocks: list[Any] = []
    row = next(row for row in suite.rows if row.label == "DFAD")
    monkeypatch.setattr(tacit, "distill", lambda **_: clocks.append(Clock.now))
    data_free.outcome_of(suite, suite.pairs[0], row, seed=0, data=Path("data"), teacher=Path("teacher"), folder=Path("run"))
    assert clocks == [time.process_time]
    assert Clock.now is time.perf_counter
    assert data_free.settings(suite, suite.pairs[0], row)["clock"] == "CPU"
    assert "clock" not in data_free.settings(suite, suite.pairs[0], next(row for row in suite.rows if row.label == "kd-real"))
    assert "clock" not in data_free.settings(SUITES["cifar10-gpu"], SUITES["cifar10-gpu"].pairs[0], row)


def test_later_seeds_take_the_steps_of_the_first_and_no_seconds_bound_them(smoked: Path, tmp_path: Path) -> None:
    suite = SUITES["mnist"]
    pair = suite.pairs[0]
    folder = tmp_path / "results/data_free/mnist" / pair.name
    shutil.copytree(smoked, tmp_path, dirs_exist_ok=True)
    first = folder / "DFAD-seed0.json"
    kept = json.loads(first.read_text())
    first.write_text(json.dumps({**kept, "student_steps": 3}))

    def later(seed: int, *options: str) -> Any:
        asked = ["--pairs", pair.name, "--rows", "DFAD", "noise", "real", "--seeds", str(seed), *options]
        assert main(["data_free", "--suite", "mnist", "--smoke", "--out", str(tmp_path), *asked]) == 0
        return json.loads((folder / f"DFAD-seed{seed}.json").read_text())

    run = later(1)
    assert (run["student_steps"], run["paced"]) == (3, True)
    assert run["settings"] == kept["settings"], "what is asked is the same, so that a run is not taken for one of other settings"
    assert run["settings"]["max_seconds"] == suite.max_seconds
    first.write_text(json.dumps({**kept, "student_steps": 3, "settings": {**kept["settings"], "keep_images": 7}}))
    run = later(2)
    assert (run["student_steps"], run["paced"]) == (2, False), "a first run of other settings bounds nothing"
    assert json.loads((folder / "real-seed1.json").read_text())["paced"] is False
    assert "Runs of later seeds that took as many student steps as the first, however long that was: 3." in tables.data_free(tmp_path)


def test_what_has_the_steps_of_another_seed_has_no_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = SUITES["mnist"]
    asked: list[dict[str, Any]] = []
    row = next(row for row in suite.rows if row.label == "DFAD")
    monkeypatch.setattr(tacit, "distill", lambda **given: asked.append(given))
    place = {"data": Path("data"), "teacher": Path("teacher"), "folder": Path("run")}
    data_free.outcome_of(suite, suite.pairs[0], row, seed=1, steps=77, **place)
    assert (asked[0]["training"].steps, asked[0]["max_seconds"]) == (77, None)


def test_on_a_gpu_each_seed_has_its_seconds(tmp_path: Path) -> None:
    for name, told in (("cifar10-cpu", True), ("cifar10-gpu", False)):
        arguments = {job.arguments["row"]: job.arguments for job in data_free.jobs(SUITES[name], home=tmp_path, seeds=[1])}
        assert bool(arguments["CMI"]["first"]) is told
        assert not arguments["kd-real"]["first"]


def test_every_unverified_figure_is_marked_where_it_is_shown() -> None:
    from benchmarks.published import FIGURES

    marked = [figure for rows in FIGURES.values() for figures in rows.values() for figure in figures if figure.mark]
    assert marked
    for figure in marked:
        assert f"{figure.value:.2f} {figure.mark}" in tables._published([figure])


def test_a_teacher_is_trained_and_kept_as_a_folder_that_can_be_loaded(
    tmp_path: Path, smoked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "mnist-resnet8"
    plan = replace(TEACHERS[name], training=replace(TEACHERS[name].training, steps=2, batch=8), aim=0.0)
    monkeypatch.setattr("benchmarks.teachers.TEACHERS", {name: plan})
    options = teachers_options("--data", str(made_up(smoked)))
    assert teachers.main(options, tmp_path) == 0
    folder = tmp_path / "teachers" / name
    assert sorted(file.name for file in folder.iterdir()) == ["config.yaml", "model.json", "result.json", "weights.safetensors"]
    assert tacit.load(folder).spec == plan.dataset.spec
    assert str(smoked) not in (folder / "config.yaml").read_text()
    assert teachers.main(options, tmp_path) == 0
    assert "there already" in capsys.readouterr().out
    later = replace(plan, start=name)
    assert teachers.make(later, tmp_path / "teachers" / "later", made_up(smoked))
    assert f"teachers/{name}" in (tmp_path / "teachers" / "later" / "config.yaml").read_text()
    with pytest.raises(InputError, match="starts from mnist-resnet8, which is not at"):
        teachers.make(later, tmp_path / "elsewhere" / "later", made_up(smoked))
    other = replace(plan, kwargs={"depth": 14, "channels": 1})
    with pytest.raises(InputError, match=r"expected tacit\.zoo:resnet with"):
        teachers.keep(smoked_run(tmp_path, smoked, plan), tmp_path / "teachers" / "other", other)
    with pytest.raises(InputError, match=r"no teacher is called 'mnist-resnet9'; did you mean 'mnist-resnet8'"):
        teachers.main(teachers_options("mnist-resnet9"), tmp_path)


def teachers_options(*words: str) -> Any:
    from benchmarks.__main__ import parser

    return parser().parse_args(["teachers", *words])


def smoked_run(folder: Path, smoked: Path, plan: Any) -> Path:
    data = str(made_up(smoked) / plan.dataset.folder)
    return tacit.train(model=plan.model, data=data, training=plan.training, out=folder / "run").folder or folder


def test_teachers_that_are_kept_fit_their_plans_and_twelve_megabytes() -> None:
    kept = [folder for folder in TEACHERS_HOME.glob("*") if folder.is_dir()]
    assert sum(file.stat().st_size for folder in kept for file in folder.iterdir()) < 12e6
    for folder in kept:
        plan = TEACHERS[folder.name]
        network = tacit.load(folder)
        assert network.origin is not None
        assert (network.origin.factory, dict(network.origin.kwargs)) == (plan.factory, dict(plan.kwargs))
        assert (network.spec.shape, network.spec.mean, network.spec.std) == (plan.spec.shape, plan.spec.mean, plan.spec.std)
        result = json.loads((folder / "result.json").read_text())
        assert 100 * result["metrics"]["student_accuracy"] >= plan.aim


def test_work_is_named_by_what_can_be_imported() -> None:
    assert import_object(data_free.jobs(SUITES["mnist"])[0].work) is data_free.measure


@pytest.mark.parametrize("path", sorted(Path(data_free.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_no_file_of_the_benchmarks_is_longer_than_300_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
