"""Rows of a comparison: what shares a row, what it is called, and what is said of unlike rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest

from tacit.core.errors import InputError
from tacit.core.run import METRICS, UNTOUCHING
from tacit.report.fairness import notes
from tacit.report.groups import comparable, group
from tacit.report.read import Record
from tacit.report.rows import Row, Spread
from tacit.report.table import markdown, share, text

CONFIG: Mapping[str, Any] = {
    "device": "auto",
    "precision": "auto",
    "data": "cifar10",
    "split": None,
    "training": {"steps": 100, "lr": 0.1},
    "evaluations": 10,
    "log_every": 20,
    "max_seconds": None,
    "teacher": {"path": "runs/teacher"},
    "student": {"path": "tacit.zoo:resnet", "kwargs": {"width": 4}},
    "source": None,
    "method": {"class_path": "tacit.synthesize.dfad.DFAD", "init_args": {"lr": 0.01, "latent": 64}},
    "objective": "kd=1",
    "eval_split": "test",
}
RESULT: Mapping[str, Any] = {
    "seconds": {"synthesis": 20.0, "training": 10.0, "evaluation": 1.0, "total": 31.0},
    "images_synthesized": 2048,
    "device": "cpu (1 threads)",
    "precision": "32-true",
    "selection": "last",
}
MEASURED = {"teacher_accuracy": 0.95, "agreement": 0.9, "params_teacher": 20_000, "params_student": 5_000, "evaluation_images": 10_000}


def record(
    seed: int = 0, accuracy: float | None = 0.9, *, verb: str = "distill", name: str = "", sha256: str | None = "f" * 64, **changes: Any
) -> Record:
    """Return a run; `changes` go to the result where it has them, to the metrics where those have them, else to the config."""
    result, metrics = dict(RESULT), {**dict.fromkeys((*METRICS, "student_accuracy_selected")), **MEASURED, "student_accuracy": accuracy}
    config = {**CONFIG, "seed": seed}
    log = changes.pop("log", [{"kind": "train", "step": 100, "seconds": 30.0, "loss": 1.0}])
    for key, value in changes.items():
        (result if key in RESULT else metrics if key in metrics else config)[key] = value
    return Record(
        name=name or f"runs/{seed}",
        verb=verb,
        config=config,
        result={**result, "seed": seed, "metrics": metrics},
        log=tuple(log),
        provenance={} if sha256 is None else {"teacher_sha256": sha256},
    )


def method(name: str, **fields: Any) -> dict[str, Any]:
    return {"class_path": f"tacit.synthesize.somewhere.{name}", "init_args": fields}


def names(*records: Record) -> list[str]:
    return sorted(row.name for row in group(records))


def test_seeds_share_a_row_with_their_mean_and_sample_deviation() -> None:
    (row,) = group([record(2, 0.94), record(0, 0.90), record(1, 0.92)])
    assert row.name == "DFAD"
    assert row.seeds == (0, 1, 2)
    assert row.runs == ("runs/0", "runs/1", "runs/2")
    assert row.student_accuracy is not None
    assert row.student_accuracy.mean == pytest.approx(0.92)
    assert row.student_accuracy.sd == pytest.approx(0.02)  # sqrt((4 + 0 + 4) / 2) points; the population's would be 1.63
    assert row.student_accuracy.values == (0.90, 0.92, 0.94)


def test_one_run_has_no_deviation() -> None:
    (row,) = group([record(0, 0.9)])
    assert row.student_accuracy == Spread(mean=0.9, sd=None, values=(0.9,))
    assert "±" not in markdown([row])


@pytest.mark.parametrize("change", [{"evaluations": 3}, {"log_every": 1}, {"out": "x"}, {"resume": True}])
def test_what_touches_no_weight_makes_no_row(change: dict[str, Any]) -> None:
    assert len(group([record(0), record(1, **change)])) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"objective": "kd=1,l1=1"},
        {"training": {"steps": 200, "lr": 0.1}},
        {"student": {"path": "tacit.zoo:resnet", "kwargs": {"width": 8}}},
        {"max_seconds": 60.0},
        {"data": "cifar100"},
        {"precision": "bf16-mixed"},
        {"params_student": 6_000},
        {"evaluation_images": 100},
        {"sha256": "e" * 64},
    ],
)
def test_whatever_else_differs_parts_rows_and_their_names(change: dict[str, Any]) -> None:
    first, second = names(record(0), record(1, **change))
    assert first != second
    assert first.startswith("DFAD")


def test_names_say_what_differs_between_rows_of_one_method_only() -> None:
    slow = record(method=method("DFAD", lr=0.001, latent=64))
    other = record(method=method("DeepInversion", lr=0.1))
    assert names(record(), slow, other) == ["DFAD, lr=0.001", "DFAD, lr=0.01", "DeepInversion"]
    both = record(method=method("DFAD", lr=0.001, latent=64), training={"steps": 100, "lr": 0.2})
    assert names(record(), both) == ["DFAD, training.lr=0.1, method.lr=0.01", "DFAD, training.lr=0.2, method.lr=0.001"]
    assert names(record(), record(objective=[{"loss": "kd", "weight": 1}, {"loss": "crd", "weight": 0.8, "taps": 3}])) == [
        "DFAD (kd=1)",
        "DFAD (kd=1,crd=0.8 with taps=3)",
    ]


def test_a_source_is_a_name_too() -> None:
    real = record(method=None, source="data")
    pool = record(method=None, source="runs/samples")
    trained = record(verb="train", method=None, teacher_accuracy=None, params_teacher=None)
    assert names(real, pool, trained) == ["pool runs/samples", "real data", "train"]
    assert {row.name: row.sees_data for row in group([real, pool, trained])} == {
        "real data": True, "pool runs/samples": False, "train": True,
    }  # fmt: skip


def test_a_method_named_as_source_is_the_same_method() -> None:
    assert names(record(0), record(1, source="DFAD")) == ["DFAD"]


def test_names_are_never_twice_the_same() -> None:
    old = record(1)
    config = {key: value for key, value in old.config.items() if key != "objective"}  # as an older version wrote it
    found = names(record(0), Record(name="old", verb=old.verb, config=config, result=old.result, provenance=old.provenance))
    assert len(set(found)) == 2


def live(sha256: str) -> dict[str, Any]:
    return {"path": None, "class": "Net", "parameters": 5_000, "sha256": sha256}


def test_live_students_start_anywhere_and_live_teachers_are_told_apart() -> None:
    assert len(group([record(0, student=live("a")), record(1, student=live("b"))])) == 1
    assert len(group([record(0, sha256=None, teacher=live("a")), record(1, sha256=None, teacher=live("b"))])) == 2


def test_without_a_hash_a_teacher_is_known_by_its_accuracy() -> None:
    rows = group([record(0, sha256=None), record(1, sha256=None, teacher_accuracy=0.90)])
    assert sorted(row.name for row in rows) == ["DFAD, teacher_accuracy=0.9", "DFAD, teacher_accuracy=0.95"]
    assert "Not like with like: the teacher differs: 9" in " ".join(notes(rows))


def test_the_best_comes_first_and_what_was_not_measured_last() -> None:
    accuracies = {"A": 0.5, "B": None, "C": 0.9, "D": 0.0}
    rows = group([record(0, accuracy, method=method(name)) for name, accuracy in accuracies.items()])
    assert [row.name for row in rows] == ["C", "A", "D", "B"]


def test_what_can_not_be_compared_is_named() -> None:
    whole, again = record(0, name="a"), record(0, name="b", evaluations=3)
    other = record(1, name="c")
    unfinished = Record(name="d", verb="distill", config=CONFIG, result=None)
    kept, left = comparable([whole, again, other, unfinished, *(record(verb=verb, name=verb) for verb in ("synthesize", "similarity"))])
    assert [one.name for one in kept] == ["a", "c"]
    assert left == [
        "b is left out: it repeats a, with the same seed and options.",
        "d is left out: it is not finished (there is no result.json).",
        "synthesize is left out: a run of `tacit synthesize` has no student.",
        "similarity is left out: a run of `tacit similarity` has no student.",
    ]


@pytest.mark.parametrize("option", UNTOUCHING)
def test_options_that_touch_nothing_that_is_learned_make_no_row(option: str) -> None:
    changed: list[dict[str, Any]] = [{option: value} for value in (1, 2)]
    assert len(group([record(seed, **each) for seed, each in enumerate(changed)])) == 1


def test_like_rows_are_left_in_peace() -> None:
    rows = group([record(seed, method=method(name)) for seed in (0, 1) for name in "AB"])
    assert notes(rows) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha256": "e" * 64}, "the teacher differs: sha256 ffffffff, 20,000 parameters for A; sha256 eeeeeeee"),
        (
            {"teacher_accuracy": None, "sha256": None, "params_teacher": 30_000},
            "the teacher differs: 20,000 parameters for A; 30,000",
        ),
        ({"params_teacher": 30_000, "sha256": None}, "the teacher differs: 95.00%, 20,000 parameters for A; 95.00%, 30,000"),
        (
            {"params_student": 6_000},
            "the student differs: tacit.zoo:resnet, width=4, 5,000 parameters for A; tacit.zoo:resnet, width=4, 6,000",
        ),
        ({"data": "svhn"}, "the evaluation images differ: cifar10, test for A; svhn, test for B"),
        ({"evaluation_images": 20_000}, "the number of evaluation images differ: 10,000 for A; 20,000 for B"),
        ({"log": [{"kind": "train", "step": 99}]}, "the student's steps differ: 100 for A; 99 for B"),
        ({"max_seconds": 60.0}, "the budget differs: none for A; 60 s for B"),
        ({"precision": "bf16-mixed"}, "the precision differs: 32-true for A; bf16-mixed for B"),
        ({"device": "cuda:0"}, "the device differs, and seconds can't be compared: cpu (1 threads) for A; cuda:0 for B"),
        ({"method": None, "source": "data"}, "the source differs: without the training data for A; real data for real data"),
        ({"augmentation": "shift"}, ""),
        ({"objective": "l1=1"}, "The option objective differs: kd=1 for A; l1=1 for B"),
    ],
)
def test_unlike_rows_are_told_of(change: dict[str, Any], words: str) -> None:
    records = [record(seed, method=method("A")) for seed in (0, 1)] + [record(seed, **{"method": method("B"), **change}) for seed in (0, 1)]
    said = notes(group(records))
    assert (words in " ".join(said)) if words else not said, said
    assert len(said) == (1 if words else 0), said


def test_seeds_are_told_of() -> None:
    first, second, third = record(0, method=method("A")), record(1, method=method("A")), record(0, 0.8, method=method("B"))
    said = notes(group([first, second, third]))
    assert said == [
        "Not like with like: the seeds differ: 0, 1 for A; 0 for B.",
        "One run is no spread: B has one seed, and may be lucky.",
    ]
    assert notes(group([first, third])) == ["One run is no spread: every row has one seed, and the order may be chance."]


def test_unlike_runs_inside_a_row_are_told_of() -> None:
    rows = group([record(0), record(1, None, device="cuda:0"), record(2, selection="ema")])
    said = " ".join(notes(rows))
    assert "DFAD: only 2 of 3 runs measured the accuracy (90.00 ± 0.00)." in said
    assert "DFAD: its runs had several devices (cpu (1 threads), cuda:0)" in said


def test_few_evaluation_images_get_fewer_decimals_and_a_note() -> None:
    rows = group([record(0, 0.91234, evaluation_images=540), record(1, 0.92345, evaluation_images=540)])
    assert "| 91.8 ± 0.8 |" in markdown(rows)
    assert notes(rows)[-1] == "Accuracy was measured on 540 images: one image is 0.19 points."
    assert "| 91.79 ± 0.79 |" in markdown(group([record(0, 0.91234), record(1, 0.92345)]))


def test_a_run_that_a_budget_ended_has_at_least_the_logged_steps() -> None:
    cut = [{"kind": "train", "step": step} for step in (20, 40)]
    (row,) = group([record(0, log=cut), record(1)])
    assert (row.steps_exact, row.steps and row.steps.values) == (False, (40, 100))
    assert "| ≥ 40 to 100 |" in markdown([row])
    assert "| 100 |" in markdown(group([record(0)]))


def test_the_markdown_table_is_whole_and_its_cells_are_escaped() -> None:
    rows = group([record(0, method=method("A|B")), record(0, None, method=None, source="data", images_synthesized=0)])
    lines = markdown(rows).splitlines()
    assert len(lines) == 4
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert lines[2] == (
        "| A\\|B | 90.00 | 90.00 | 95.00 | 20,000 → 5,000 | 1 (0) | 2,048 | 100 | 20.0 | 10.0 | cpu (1 threads) | 32-true |"
    )
    assert lines[3].startswith("| real data | — | 90.00 |")


def test_the_text_is_aligned_and_says_once_what_is_the_same() -> None:
    rows = group([record(seed, accuracy, method=method(name)) for seed in (0, 1) for name, accuracy in (("A", 0.9), ("Longer", 0.08))])
    lines = text(rows).splitlines()
    assert lines[0].split() == ["run", "accuracy,", "%"]
    assert len({len(line) for line in lines[:3]}) == 1
    assert lines[3].startswith("all: agreement 90.00 ± 0.00%; teacher 95.00%; parameters 20,000 → 5,000; seeds 2 (0, 1)")


def test_averaged_and_selected_weights_have_columns_where_they_were_measured() -> None:
    plain, both = record(0), record(0, student_accuracy_ema=0.91, student_accuracy_selected=0.92, selection="ema")
    assert "weights" not in markdown(group([plain]))
    lines = markdown(group([both])).splitlines()
    assert lines[0].startswith("| run | accuracy, % | averaged weights, % | selected weights, % |")
    assert lines[2].startswith("| DFAD | 90.00 | 91.00 | 92.00 |")
    assert "DFAD: the stored weights were chosen by ema; the column accuracy is that of the last step." in notes(group([both]))


def test_shares_are_percent() -> None:
    assert share(None, 1) == "—"
    assert share(Spread.of([0.5, None]), 1) == "50.0"
    assert Spread.of([None]) is None


def evaluated(*points: tuple[int, float, float], last: int) -> list[dict[str, Any]]:
    return [{"kind": "evaluation", "step": step, "seconds": at, "student_accuracy": value} for step, at, value in points] + [
        {"kind": "train", "step": last, "seconds": 0.0}
    ]


def test_a_curve_is_the_mean_at_common_steps_with_least_and_most_and_ends_at_the_result() -> None:
    one = record(0, 0.8, log=evaluated((10, 1.0, 0.2), (20, 2.0, 0.4), (30, 3.0, 0.5), last=100))
    two = record(1, 0.6, log=evaluated((10, 3.0, 0.4), (30, 5.0, 0.7), last=100))
    (row,) = group([one, two])
    curve = row.curve
    assert curve is not None
    assert curve.steps == (10, 30, 100)
    assert curve.seconds == (2.0, 4.0, 30.0)
    assert curve.mean == pytest.approx((0.3, 0.6, 0.7))
    assert curve.low == (0.2, 0.5, 0.6)
    assert curve.high == (0.4, 0.7, 0.8)
    (last,) = group([record(0, 0.8, log=evaluated((50, 1.0, 0.2), (100, 29.0, 0.8), last=100))])
    assert last.curve is not None
    assert last.curve.steps == (50, 100)


def test_runs_that_were_never_evaluated_have_no_curve() -> None:
    (row,) = group([record(0, None)])
    assert row.curve is None


def test_a_row_comes_back_from_json() -> None:
    rows = group([record(seed, log=evaluated((10, 1.0, 0.2), last=100)) for seed in (0, 1)])
    assert [Row.load(json.loads(json.dumps(asdict(row)))) for row in rows] == rows
    with pytest.raises(InputError, match="no row of a comparison"):
        Row.load({"name": "a"})


def test_networks_that_name_a_class_a_pixel_are_set_side_by_side_by_mean_iou() -> None:
    def dense(seed: int, miou: float, accuracy: float, source: str | None) -> Record:
        one = record(seed, accuracy, source=source, method=None)
        return replace(one, result={**(one.result or {}), "metrics": {**one.metrics, "student_miou": miou, "teacher_miou": 0.6}})

    rows = group([dense(0, 0.21, 0.9, "data"), dense(0, 0.30, 0.8, "runs/pool"), dense(1, 0.32, 0.8, "runs/pool")])
    best = rows[0].student_miou
    assert best is not None
    assert best.mean == pytest.approx(0.31), "the best by mean IoU, though fewer pixels are named rightly"
    assert rows[0].seeds == (0, 1)
    table = markdown(rows)
    assert table.startswith("| run | mIoU, % | accuracy, % |")
    assert "| 31.00 ± 1.41 | 80.00 ± 0.00 |" in table
    assert "teacher mIoU, % |" in table
    assert Row.load(json.loads(json.dumps(asdict(rows[0])))) == rows[0]
    assert "mIoU, %" not in markdown(group([record()]))


def test_a_teacher_that_one_run_did_not_measure_is_not_another() -> None:
    rows = group([record(name="A"), record(name="B", sha256=None, teacher_accuracy=None, method=None)])
    assert not [text for text in notes(rows) if "teacher" in text]
    told = group([record(name="A", sha256=None, teacher_sha256="f" * 64), record(name="B", teacher_accuracy=None, method=None)])
    assert not [text for text in notes(told) if "teacher" in text]
