"""Warnings: said once, when they last, and with options that the method has."""

from __future__ import annotations

import pytest
import torch

from tacit.core.batch import Batch
from tacit.core.spec import Spec
from tacit.distill.advice import Advice, budget_faults, image_faults, pool_faults, student_faults
from tacit.synthesize import CMI, DAFL, DFAD, Gaussian, Method, Pool

SPEC = Spec(shape=(1, 2, 2), classes=10)
WELL: dict[str, float | None] = {
    "class_coverage": 1.0,
    "teacher_confidence": 0.9,
    "feature_distance": 3.0,
    "duplicate_rate": 0.0,
    "pixel_deviation": 0.2,
}
LEARNS: dict[str, float | None] = {"agreement_old": 0.9, "kd_fresh": 0.5, "kd_noise": 1.0, "agreement_noise": 0.4}


def test_a_kind_is_said_once_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    advice = Advice()
    advice.give({"a": "one"})
    advice.give({"a": "one again", "b": "two"})
    assert advice.texts == ["one", "two"]
    assert capsys.readouterr().err == "tacit: warning: one\ntacit: warning: two\n"


def test_a_quiet_one_only_keeps(capsys: pytest.CaptureFixture[str]) -> None:
    advice = Advice(quiet=True)
    advice.give({"a": "one"})
    assert advice.texts == ["one"]
    assert capsys.readouterr().err == ""


def test_what_comes_and_goes_is_not_said() -> None:
    advice = Advice()
    for faults in ({"a": "x"}, {}, {"a": "x"}, {"b": "y"}):
        advice.notice(faults, certain=False)
    assert advice.texts == []
    advice.notice({"b": "y"}, certain=False)
    assert advice.texts == ["y"]
    advice.notice({"b": "y", "c": "z"}, certain=True)
    assert advice.texts == ["y", "z"]


def test_what_was_said_and_is_over_at_the_end_is_told_so() -> None:
    advice = Advice()
    for faults in ({"a": "x", "b": "y"}, {"a": "x", "b": "y"}, {"b": "y"}):
        advice.notice(faults, certain=False)
    advice.give({"pool": "z"})
    again = Advice()
    again.load_state_dict(advice.state_dict())
    assert advice.texts == again.texts == ["x (on the way; at the end no longer)", "y", "z"]
    advice.notice({"a": "x"}, certain=True)
    assert advice.texts == ["x", "y (on the way; at the end no longer)", "z"]


def test_advice_goes_on_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = Advice(), Advice()
    first.give({"a": "one"})
    first.notice({"b": "two"}, certain=False)
    second.load_state_dict(first.state_dict())
    capsys.readouterr()
    second.notice({"a": "one", "b": "two"}, certain=False)
    assert second.texts == ["one", "two"]
    assert capsys.readouterr().err == "tacit: warning: two\n"


def test_what_is_well_is_not_warned_of() -> None:
    assert image_faults(WELL, [26] * 10, SPEC, DAFL()) == {}
    assert student_faults(LEARNS, DFAD(), fought=True, best_old=0.95) == {}


@pytest.mark.parametrize(("change", "counts", "kind"), [
    ({"class_coverage": 0.3}, [100, 100, 56] + [0] * 7, "classes"),
    ({"class_coverage": 0.8}, [32] * 8 + [0] * 2, "classes"),
    ({"pixel_deviation": 0.001, "duplicate_rate": 1.0}, [26] * 10, "alike"),
    ({"duplicate_rate": 0.6}, [26] * 10, "duplicates"),
    ({"teacher_confidence": 0.15}, [26] * 10, "unsure"),
])  # fmt: skip
def test_every_fault_of_images_is_found_alone(change: dict[str, float | None], counts: list[int], kind: str) -> None:
    assert list(image_faults({**WELL, **change}, counts, SPEC, None)) == [kind]


def test_images_with_many_classes_each_are_counted_as_images() -> None:
    counts = [30] * 3 + [0] * 7
    found = image_faults({**WELL, "class_coverage": 0.3}, counts, SPEC, None, images=30)
    assert found == {}, "30 images are too few to tell"
    found = image_faults({**WELL, "class_coverage": 0.3}, [60] * 3 + [0] * 7, SPEC, None, images=60)
    assert "among the last 60 images" in found["classes"]


@pytest.mark.parametrize("classes", [20, 100, 1000])
def test_chance_alone_does_not_lack_a_class_and_one_class_alone_does(classes: int) -> None:
    many = Spec(shape=(1, 2, 2), classes=classes)
    drawn = torch.bincount(torch.randint(classes, (256,), generator=torch.Generator().manual_seed(0)), minlength=classes).tolist()
    covered = sum(1 for count in drawn if count) / classes
    assert covered < 1 or classes == 20
    assert image_faults({**WELL, "class_coverage": covered}, drawn, many, None) == {}
    alone = image_faults({**WELL, "class_coverage": 1 / classes}, [256] + [0] * (classes - 1), many, None)
    assert ("where a fair draw has about" in alone["classes"]) == (classes > 64)
    assert image_faults({**WELL, "class_coverage": 0.1}, [1] + [0] * 9, SPEC, None) == {}  # ten images are too few to say


@pytest.mark.parametrize(("method", "named", "unnamed"), [
    (DAFL(), ("`balance` or `ce`", "`lr`"), ("`restart`",)),
    (CMI(), ("`ce`", "`lr`"), ("`balance`", "`restart`")),
    (DFAD(), ("a larger `bn`", "a method that balances classes"), ("`ce`", "`balance`", "`restart`", "`lr`")),
    (Gaussian(), ("try a method that balances classes",), ("`", "seed")),
    (None, ("another seed",), ("`",)),
])  # fmt: skip
def test_only_options_that_the_method_has_are_named(method: Method | None, named: tuple[str, ...], unnamed: tuple[str, ...]) -> None:
    text = image_faults({**WELL, "class_coverage": 0.3}, [100, 100, 56] + [0] * 7, SPEC, method)["classes"]
    assert "the teacher sees no sample of 7 of 10 classes (3, 4, 5, 6, 7, ...) among the last 256 images" in text
    assert all(word in text for word in named)
    assert not any(word in text for word in unnamed)


def test_forgetting_and_collapse_are_found() -> None:
    assert list(student_faults({**LEARNS, "agreement_old": 0.7}, DFAD(), fought=False, best_old=0.95)) == ["forgetting"]
    fooled = {**LEARNS, "kd_fresh": 0.001}
    assert list(student_faults(fooled, DFAD(), fought=True, best_old=None)) == ["collapse"]
    assert student_faults(fooled, CMI(), fought=False, best_old=None) == {}  # images that are easy were asked for


@pytest.mark.parametrize(("classes", "images"), [(10, 40), (100, 400), (200, 1024), (1000, 4096)])
def test_classes_that_a_fair_draw_misses_are_no_fault_of_a_pool(classes: int, images: int) -> None:
    spec, drawn = Spec(shape=(1, 2, 2), classes=classes), torch.Generator().manual_seed(0)
    for lacking in (0, max(1, classes // 5)):
        warned = 0
        for _ in range(20):
            pool, labels = Pool(spec), torch.randint(classes - lacking, (images,), generator=drawn)
            pool.add(Batch(torch.rand(images, 1, 2, 2, generator=drawn), logits=torch.nn.functional.one_hot(labels, classes).float()))
            warned += "classes" in pool_faults(pool)
        assert warned <= 1 if not lacking else warned == 20


def test_a_budget_below_the_warm_up_is_a_fault_of_methods_that_fight() -> None:
    method = CMI(warmup=4)
    assert list(budget_faults(method, 4, fought=True)) == ["budget"]
    assert budget_faults(method, 5, fought=True) == budget_faults(method, None, fought=True) == budget_faults(method, 3, fought=False) == {}


def test_a_whole_pool_is_looked_at() -> None:
    pool = Pool(SPEC)
    pool.add(Batch(torch.full((60, 1, 2, 2), 0.5), logits=torch.eye(10)[torch.arange(60) % 8]))
    found = pool_faults(pool)
    assert sorted(found) == ["alike", "classes"]
    assert "no sample of 2 of 10 classes (8, 9): the student" in found["classes"]
    even = Pool(SPEC)
    even.add(Batch(torch.rand(60, 1, 2, 2), logits=torch.eye(10)[torch.arange(60) % 10]))
    assert pool_faults(even) == {}
