"""The suites of federated learning: end to end on generated data, and what their tables say of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import federated
from benchmarks.__main__ import main
from benchmarks.decoded import decoded
from benchmarks.federated_parts import chosen_rates, sign_flip
from benchmarks.federated_plans import FederatedSuite
from benchmarks.federated_plots import draw_federated
from benchmarks.federated_published import HEAD, WHOLE
from benchmarks.federated_suites import RATES, SUITES
from benchmarks.federated_tables import federated as section
from benchmarks.overview import overview
from benchmarks.places import made_up
from benchmarks.plans import slug
from benchmarks.suites import DATASETS
from tacit.core.files import write_json
from tacit.core.run import check_result
from tacit.federate import FederationError
from toybench import smoke

ROWS = {"mnist": ["FedGen", "FedDistill", "FedDF"], "learning-rates": ["FedAvg, 0.1"], "dense": ["DENSE"]}
"""Rows that are tried here, by suite."""
OWN = ("suite", "split", "row", "lr", "own", "curve", "settings", "code")


@pytest.fixture(scope="session")
def smoked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("federated")
    for suite, rows in ROWS.items():
        smoke(home, "federated", "--suite", suite, "--rows", *rows)
    return home


def kept(home: Path, suite: str, split: str, row: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / f"results/federated/{suite}/{split}/{slug(row)}-seed0.json").read_text())
    return found


def put(home: Path, suite: str, alpha: float, row: str, seed: int, accuracy: float | None, own: float | None = None, **more: Any) -> None:
    """Write as little of a run as the tables read; accuracies are in %."""
    shares = [value / 100 if value is not None else None for value in (accuracy, own)]
    run = {
        "row": row,
        "seed": seed,
        "lr": 0.01,
        "metrics": {
            "student_accuracy": shares[0],
            "rounds_to": {"0.85": 40 + seed, "0.9": None},
            "bytes_down": 2e6,
            "bytes_up": 1e6,
            "beside": more.pop("beside", None),
        },
        "own": {"accuracy": shares[1], "images": 100} if own is not None else None,
        "images_synthesized": 7,
        "seconds": {"training": 1.0, "synthesis": 0.0},
        "device": "cpu",
        "precision": "32-true",
        "curve": [[5, 0.5], [10, shares[0]]],
        **more,
    }
    write_json(home / f"results/federated/{suite}/dirichlet-{alpha:g}/{slug(row)}-seed{seed}.json", run)


def part(text: str, name: str) -> str:
    return text.partition(f"### {name}:")[2].partition("\n### ")[0]


def test_runs_say_what_was_done_and_what_came_of_it(smoked: Path) -> None:
    run = kept(smoked, "mnist", "dirichlet-1", "FedGen")
    check_result({key: value for key, value in run.items() if key not in OWN})
    assert run["settings"]["algorithm"]["class_path"].endswith("FedGen")
    assert (run["metrics"]["rounds"], len(run["metrics"]["client_counts"])) == (2, 3)
    assert [round for round, _ in run["curve"]] == [1, 2]
    assert run["curve"][-1][1] == round(run["metrics"]["student_accuracy"], 5)
    assert run["own"] is None  # the global model is tested on the test set alone
    assert run["metrics"]["params_student"] == 26_434
    assert kept(smoked, "mnist", "dirichlet-1", "FedDF")["settings"]["proxy"] == "train[:8]"


def test_clients_own_models_are_tested_on_their_labels_too(smoked: Path) -> None:
    run = kept(smoked, "mnist", "dirichlet-1", "FedDistill")
    counts = run["metrics"]["client_counts"]
    assert run["own"]["images"] == sum(4 for client in counts for count in client if count)  # 40 test images of 10 classes
    assert run["metrics"]["student_accuracy"] is not None


def test_images_are_decoded_once(smoked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fresh = decoded(DATASETS["mnist"], made_up(smoked), "test")
    monkeypatch.setattr("benchmarks.decoded.load_data", None)
    again = decoded(DATASETS["mnist"], made_up(smoked), "test")
    assert fresh.images.shape == (40, 1, 28, 28)
    assert fresh.images.equal(again.images)
    assert fresh.labels.equal(again.labels)


def test_learning_rates_are_tried_without_the_test_set(smoked: Path) -> None:
    run = kept(smoked, "learning-rates", "dirichlet-0.1", "FedAvg, 0.1")
    assert (run["metrics"]["evaluation_images"], run["metrics"]["student_accuracy"]) == (None, None)
    assert run["own"]["images"] == sum(round(0.2 * sum(client)) for client in run["metrics"]["client_counts"])
    assert (run["lr"], run["settings"]["lr"], run["settings"]["held"]) == (0.1, 0.1, 0.2)


def test_one_round_has_the_mean_and_the_ensemble_beside_it(smoked: Path) -> None:
    assert set(kept(smoked, "dense", "dirichlet-0.1", "DENSE")["metrics"]["beside"]) >= {"mean", "ensemble"}
    assert "| ensemble |" in part(section(smoked), "dense")


def test_a_run_that_breaks_off_is_kept_and_said(smoked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise FederationError("NaN everywhere")

    monkeypatch.setattr("tacit.verbs.federate.Federate.over", broken)
    (job,) = federated.jobs(SUITES["mnist"], home=smoked, small=True, rows=["FedGen"])
    run = federated.measure(job.arguments, tmp_path)
    assert (run["broke"], run["metrics"]["student_accuracy"]) == ("NaN everywhere", None)
    write_json(tmp_path / "results/federated/mnist/dirichlet-1/FedGen-seed0.json", run)
    put(tmp_path, "mnist", 1.0, "FedAvg", 0, 90.0)
    assert "| `FedGen` | broke off |" in section(tmp_path)
    put(tmp_path, "mnist", 1.0, "FedGen", 1, 95.0)
    put(tmp_path, "mnist", 1.0, "FedAvg", 1, 90.0)
    text = section(tmp_path)
    assert "| 95.00, 1 broke off |" in text
    assert "FedGen is +5.00 points from FedAvg; above it in 1 of 2 seeds, broke off in 1: **no**" in text
    write_json(tmp_path / "results/federated/dense/dirichlet-0.1/DENSE-seed0.json", {**run, "suite": "dense", "row": "DENSE"})
    assert "`DENSE` broke off in all of its 1 runs." in section(tmp_path)


def test_each_row_takes_the_rate_that_its_clients_images_chose(tmp_path: Path) -> None:
    for rate, own in zip(RATES, (80.0, 82.0, 85.0, 70.0), strict=True):
        put(tmp_path, "learning-rates", 0.1, f"FedAvg, {rate:g}", 0, None, own)
    put(tmp_path, "learning-rates", 0.1, "FedGen, 0.01", 0, None, 99.0)
    assert chosen_rates(SUITES["learning-rates"], tmp_path) == {"FedAvg": 0.1}
    assert "| `FedAvg` | 80.00 | 82.00 | **85.00** | 70.00 |" in section(tmp_path)
    assert "partly of images that its server taught on" in part(section(tmp_path), "learning-rates")
    made = federated.jobs(SUITES["best"], home=tmp_path)
    assert {job.arguments["row"] for job in made} == {"FedAvg", "FedEnsemble"}
    assert {job.settings["lr"] for job in made} == {0.1}
    assert "FedGen" in federated.unchosen(SUITES["best"], tmp_path)
    assert "FedEnsemble" not in federated.unchosen(SUITES["best"], tmp_path)
    assert "| `federated --suite best` | 0 of 6 | 0 of 18, and 7 rows whose learning rates are not chosen yet |" in overview(tmp_path)


@pytest.mark.parametrize(
    ("asked", "run"),
    [(["all"], ["mnist", "learning-rates", "best", "ablation", "head", "dense"]), (["dense", "mnist"], ["dense", "mnist"])],
)
def test_several_suites_are_one_command_in_the_order_in_which_they_can_be_run(
    asked: list[str], run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def jobs(suite: FederatedSuite, **_: Any) -> list[Any]:
        seen.append(suite.name)
        return []

    monkeypatch.setattr(federated, "jobs", jobs)
    assert main(["federated", "--suite", *asked, "--list", "--out", str(tmp_path)]) == 0
    assert seen == run


def test_the_page_begins_with_how_much_of_it_is_there(tmp_path: Path) -> None:
    first, other, *_ = federated.jobs(SUITES["dense"], home=tmp_path)
    for job, settings in ((first, first.settings), (other, {"rounds": -1})):
        job.file.parent.mkdir(parents=True, exist_ok=True)
        job.file.write_text(json.dumps({"settings": settings}))
    assert "| `federated --suite dense` | 1 of 2 | 1 of 6 |" in overview(tmp_path)  # one was run with other settings


def test_claims_are_judged_by_differences_of_the_same_seed_and_split(tmp_path: Path) -> None:
    """FedGen 96, 97 against FedAvg 92, 94 at 0.1: 96.50 reaches 96, +3.5; the mean of two differences can't have p < 0.05."""
    for seed, (ours, theirs) in enumerate(((96, 92), (97, 94))):
        put(tmp_path, "mnist", 0.1, "FedGen", seed, ours)
        put(tmp_path, "mnist", 0.1, "FedAvg", seed, theirs)
    text = part(section(tmp_path), "mnist")
    assert "| `FedGen` | 96.00 | 97.00 | - | 96.50 ± 0.71 | +3.50 ± 0.71 | - | 93.03 ± 0.32 | 40 | never | 2 | 1 | 1 |" in text
    assert "| seconds, wall time |" in text
    assert "FedGen has 96.50 ± 0.71 (2 seeds), at least 96.00: yes" in text
    assert "Dirichlet 0.1: FedGen is +3.50 ± 0.71 points from FedAvg; above it in 2 of 2 seeds: yes" in text
    assert "(2 differences, p = 0.5; fewer than 6 can't have p < 0.05), more with p < 0.05: **no**" in text
    assert "Not run yet, dirichlet-0.1: `FedAvg`, `FedGen` (seed 2); `FedProx`" in text
    draw_federated(tmp_path)
    assert (tmp_path / "figures/federated-mnist.png").stat().st_size > 1000


def test_what_fedgen_adds_is_told_against_each_ones_own_rate(tmp_path: Path) -> None:
    """At 0.01 96 against 92; at its own rate FedAvg has 95.5, and the FedGen that images set aside chose 96.5."""
    for name, own in (("FedGen", 80.0), ("FedGen, weights 1", 90.0), ("FedGen, paper", 85.0)):
        for rate in RATES:
            put(tmp_path, "learning-rates", 0.1, f"{name}, {rate:g}", 0, None, own)
    for suite, row, accuracy in (("mnist", "FedAvg", 92), ("mnist", "FedGen", 96), ("best", "FedAvg", 95.5)):
        put(tmp_path, suite, 0.1, row, 0, accuracy)
    put(tmp_path, "mnist", 0.1, "FedAvg", 1, 60)  # a seed that not all have counts for nothing
    put(tmp_path, "best", 0.1, "FedGen", 0, 99)
    put(tmp_path, "best", 0.1, "FedGen, weights 1", 0, 96.5)
    text = part(section(tmp_path), "best")
    assert (
        "FedGen is +4.00 points from FedAvg. Its own rate alone gives FedAvg +3.50. Each at its own, `FedGen, weights 1` is +1.00" in text
    )


def test_it_is_said_on_what_rates_were_chosen_and_which_lie_at_an_edge(tmp_path: Path) -> None:
    best = {"FedAvg": 0.2, "FedProx": 0.05, "FedGen": 0.01}
    for name, at in best.items():
        for rate in RATES:
            put(tmp_path, "learning-rates", 0.1, f"{name}, {rate:g}", 0, None, 90.0 if rate == at else 80.0)
    put(tmp_path, "best", 1.0, "FedAvg", 0, 95)
    text = part(section(tmp_path), "best")
    assert "Rates were chosen on Dirichlet 0.1 and seed 0 alone, by suite `learning-rates`, and are used for every split and seed." in text
    edges = "At an edge of what was tried, 0.01 to 0.2, so that a rate beyond it may be better: "
    assert edges + "`FedGen` (0.01); `FedAvg`, `FedEnsemble` (0.2).\n" in text


def test_the_setting_names_momentum_where_there_is_some_and_published_figures_as_such(tmp_path: Path) -> None:
    for alpha in (0.1, 1.0):
        put(tmp_path, "mnist", alpha, "FedGen", 0, 96)
    text = section(tmp_path)
    assert "falling by 1 % a round, momentum 0.9; at most" in part(text, "dense")
    assert "momentum" not in part(text, "mnist")
    assert "Dirichlet 1: FedGen has 96.00 (1 seeds), at least 95.52, as published: yes" in text
    assert "Dirichlet 0.1: FedGen has 96.00 (1 seeds), at least 96.00: yes" in text


def test_heads_are_judged_on_own_labels_and_on_all(tmp_path: Path) -> None:
    put(tmp_path, "head", 1.0, "FedAvg", 0, 60, 70)
    put(tmp_path, "head", 1.0, "FedGen", 0, 59, 75)
    text = part(section(tmp_path), "head")
    assert "| `FedGen` | 75.00 | +5.00 | 79.72 | 59.00 | -1.00 |" in text
    assert "on own labels: FedGen is +5.00 points from FedAvg; above it in 1 of 1 seeds: yes" in text
    assert "on all test images: FedGen is -1.00 points from FedAvg; above it in 0 of 1 seeds: **no**" in text


def test_dense_is_held_against_the_mean_and_the_ensemble(tmp_path: Path) -> None:
    put(tmp_path, "dense", 0.1, "DENSE", 0, 80, beside={"mean": 0.6, "ensemble": 0.85})
    text = part(section(tmp_path), "dense")
    assert "| ensemble | 85.00 | 85.00 |" in text
    assert "DENSE is +20.00 points from the mean of the models, at least 5 above: yes" in text
    assert "DENSE is -5.00 points from the ensemble, at most 3 below: **no**" in text


@pytest.mark.parametrize(
    ("differences", "p"), [((1.0,), 1.0), ((1.0, 2.0, 3.0), 2 / 8), ((1.0,) * 9, 2 / 512), ((3.0, -1.0), 1.0), ((3.0, -1.0, 2.0), 4 / 8)]
)
def test_the_p_value_counts_choices_of_signs(differences: tuple[float, ...], p: float) -> None:
    """Of 3, -1, 2 (sum 4): sums 4, -4, 6 and -6 are as far from 0 as 4, of eight."""
    assert sign_flip(differences) == pytest.approx(p)


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_the_first_seed_of_everything_comes_first_and_every_run_has_a_file_of_its_own(suite: Any) -> None:
    labels = [row.label for row in suite.rows]
    assert len({slug(label) for label in labels}) == len(labels)
    made = federated.jobs(suite) if not suite.tuned else []
    assert len({job.file for job in made}) == len(made)
    assert [job.arguments["seed"] for job in made] == sorted(job.arguments["seed"] for job in made)
    assert all(json.loads(json.dumps(job.settings)) == job.settings for job in made)


def test_shared_runs_are_the_same_runs_and_published_rows_are_there() -> None:
    ablation = {job.file: job.settings for job in federated.jobs(SUITES["ablation"], rows=["FedGen", "FedAvg"])}
    paper = {job.file: job.settings for job in federated.jobs(SUITES["mnist"], alphas=[0.1])}
    assert ablation.items() <= paper.items()
    assert {label for rows in WHOLE.values() for label in rows} <= {row.label for row in SUITES["mnist"].rows}
    assert {label for rows in HEAD.values() for label in rows} == {row.label for row in SUITES["head"].rows} | {"FedDF"}


@pytest.mark.parametrize(("words", "message"), [
    (["--rows", "FedGan"], "suite mnist has no row called 'FedGan'; did you mean 'FedGen'"),
    (["--splits", "0.2"], "--splits: expected some of 0.05, 0.1, 1, got 0.2"),
    (["--data", "nowhere"], "no data at"),
])  # fmt: skip
def test_bad_input_is_one_line(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["federated", "--suite", "mnist", "--out", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
