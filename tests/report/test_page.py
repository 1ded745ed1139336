"""What the page says, and what it must never do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pages import HOSTILE, Page
from tacit.core.errors import InputError
from tacit.report import write_report
from tacit.report.page import render


def test_demo_says_every_number(demo: Path) -> None:
    path = write_report(demo)
    assert path == demo / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    for expected in (
        "A student with 12.7x fewer parameters than its teacher learned from 2,048 images made from the teacher alone by CMI",
        "12.7x fewer 77,754 → 6,106",
        "11.7x smaller 319.4 kB → 27.2 kB",
        "Student accuracy 96.3% last step",
        "Teacher accuracy 98.2%",
        "Agreement 97.2%",
        "38.0 s synthesis 21.4 s, training 16.2 s, evaluation 0.4 s",
        "412 MB",
        "seed 7 · cpu",
        "the last step, never of the best step",
        "±1.6 points",
        "Same student on Gaussian noise 41.2%",
        "10 of 10 classes were made; from 171 to 230 images a class.",
        "They agree on 517 of 525 evaluation images. Most often apart: 8 taken for 1 (3)",
        "Class 8 was made less often than the others.",
        "synthetic 96.3%",
        "noise 41.2%",
        "contrast: 0.8",
        "2.13.0",
        "Inverted images may resemble training data",
    ):
        assert expected in page.words, expected
    assert path.stat().st_size < 500_000


def test_pictures_are_inside_with_captions(demo: Path) -> None:
    page = Page(render(demo))
    pictures = page.all("img")
    assert len(pictures) == 50
    assert all((picture["src"] or "").startswith("data:image/png;base64,") and picture["alt"] for picture in pictures)
    assert len(page.all("figcaption")) >= 50


def test_same_folder_same_page(demo: Path) -> None:
    assert render(demo) == render(demo)


def test_ids_do_not_collide_and_all_references_are_met(demo: Path) -> None:
    text = render(demo)
    ids = re.findall(r'\sid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', text)) <= set(ids)


@pytest.mark.parametrize("hostile", [False, True])
def test_asks_no_other_host(demo: Path, hostile: bool) -> None:
    if hostile:
        _rename(demo, HOSTILE)
    text = render(demo)
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
        assert not re.search(r"url\((?!#)|http|javascript:", attributes.get("style") or "")
    sheets = re.findall(r"<style.*?</style>", text, flags=re.DOTALL)
    assert len(sheets) == 1
    assert not re.search(r"url\(|@import|http", sheets[0])
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_hostile_names_are_only_text(demo: Path) -> None:
    _rename(demo, HOSTILE)
    page = Page(render(demo))
    assert HOSTILE in page.words
    assert not page.all("script")
    assert any(HOSTILE in (group.get("aria-label") or "") for group in page.all("div"))


def _rename(demo: Path, name: str) -> None:
    path = demo / "result.json"
    result = json.loads(path.read_text())
    result["metrics"]["class_names"] = [name, *map(str, range(1, 10))]
    result["metrics"]["warnings"] = [name]
    result["metrics"]["baselines"] = [{"name": name, "student_accuracy": 0.1}]
    path.write_text(json.dumps(result))


def test_headings_are_in_order(demo: Path) -> None:
    levels = [int(tag[1]) for tag, _ in Page(render(demo)).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_unfinished_run_has_no_numbers(run: Callable[..., Path], tmp_path: Path) -> None:
    page = Page(render(run(tmp_path / "alone", result=False)))
    assert "There is no result yet" in page.words
    assert [section["id"] for section in page.all("section")] == ["privacy", "repeat"]


def test_null_is_a_dash(run: Callable[..., Path], tmp_path: Path) -> None:
    words = Page(render(run(tmp_path / "null"))).words
    assert "Student accuracy — not measured" in words
    assert "Agreement — not measured" in words
    assert "Parameters — not measured" in words
    assert "its accuracy was not measured" in words
    assert "None" not in words
    assert "nan" not in words.lower()


@pytest.mark.parametrize(
    "verb", ["train", "inspect", "synthesize", "distill", "evaluate", "demo", "quantize", "prune", "federate", "compare"]
)
def test_every_verb_has_a_sentence(run: Callable[..., Path], tmp_path: Path, verb: str) -> None:
    words = Page(render(run(tmp_path / verb, verb, teacher_accuracy=0.9, student_accuracy=0.8))).words
    assert f"tacit {verb}" in words
    assert "None" not in words
    assert verb == "synthesize" or "80.0% accuracy" in words


def test_each_part_alone(run: Callable[..., Path], log: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    def sections(name: str, **parts: Any) -> set[str | None]:
        return {section["id"] for section in Page(render(run(tmp_path / name, **parts))).all("section")} - {"privacy", "repeat"}

    assert sections("log", log=log(0.9, 20)) == {"accuracy", "losses"}
    assert sections("losses", log=[line for line in log(0.9, 20) if line["kind"] == "train"]) == {"losses"}
    assert sections("samples", samples=[([[0, 255]] * 2, 1, 0.5)]) == {"samples"}
    assert sections("counts", class_counts=[3, 0]) == {"classes"}
    assert sections("confusion", confusion=[[3, 0], [1, 2]]) == {"confusion"}
    alone, both = {"teacher_class_accuracy": [0.25, 0.75]}, {"teacher_class_accuracy": [0.25, 0.75], "student_class_accuracy": [0.5, 0.5]}
    assert "Teacher's accuracy 0 — 25.0% 1 — 75.0%" in " ".join(
        Page(render(run(tmp_path / "a", **alone))).words.replace("— —", "—").split()
    )
    assert "Student's accuracy 0 — 50.0%" in " ".join(Page(render(run(tmp_path / "b", **both))).words.replace("— —", "—").split())
    assert sections("ragged", confusion=[[3, 0], [1]]) == set()
    times = {"1": {"torch": 3.0, "float": 0.8, "int8": 0.4}}
    assert sections("times", milliseconds=times) == {"latencies"}
    assert "int8 file 0.4 ms" in Page(render(run(tmp_path / "shown", milliseconds=times))).words
    sets = {
        "noise": {"divergence": 0.9, "sd": None, "images": 256, "samples": 1},
        "BNS": {"divergence": 0.01, "sd": 0.001, "images": 256, "samples": 2},
    }
    assert sections("sets", similarity=sets) == {"similarities"}
    assert re.search(r"BNS 0.0100 ± 0.0010 256 x 2 noise 0.9000 256 x 1", Page(render(run(tmp_path / "ranked", similarity=sets))).words)
    agreed = {"agreement_synthetic": 0.9, "baselines": [{"name": "bf16", "student_accuracy": None, "agreement_synthetic": 0.95}]}
    assert "a proxy, not an accuracy. This student 90.0% bf16 95.0%" in Page(render(run(tmp_path / "agreed", **agreed))).words
    assert sections("baselines", baselines=[{"name": "noise", "student_accuracy": 0.2}]) == {"baselines"}


def test_health_is_drawn_by_name_with_its_last_values(run: Callable[..., Path], tmp_path: Path) -> None:
    lines = [
        {
            "kind": "health",
            "step": step,
            "class_coverage": step / 10,
            "teacher_confidence": 0.9,
            "agreement_old": 0.5,
            "feature_distance": 3.5,
        }
        for step in (5, 10)
    ]
    page = Page(render(run(tmp_path / "health", log=[*lines, {"kind": "health", "step": 10, "agreement_fresh": None}])))
    assert page.all("section")[0]["id"] == "health"
    for words in ("classes 100.0%", "confidence 90.0%", "old images 50.0%", "in the teacher's features 3.5", "The last images"):
        assert words in page.words, words
    assert not re.search(r"new images \d", page.words)
    assert len(page.all("figure")) == 3


def test_of_several_looks_at_first_samples_the_last_is_drawn(run: Callable[..., Path], tmp_path: Path) -> None:
    def page(name: str, *coverages: tuple[int, float]) -> str:
        log = [{"kind": "health", "step": step, "class_coverage": coverage} for step, coverage in coverages]
        return render(run(tmp_path / name, log=log)).replace(name, "")

    once, often = page("once", (0, 0.6), (10, 0.9)), page("often", (0, 0.1), (0, 0.4), (0, 0.6), (10, 0.9))
    drawn = [re.findall(r"<svg.*?</svg>", each, re.DOTALL) for each in (once, often)]
    assert drawn[0] == drawn[1] != []


def test_a_selected_model_is_told_from_the_last_step(run: Callable[..., Path], tmp_path: Path) -> None:
    folder = run(tmp_path / "chosen", student_accuracy=0.8, student_accuracy_selected=0.85)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "selection": "agreement_synthetic"}))
    words = Page(render(folder)).words
    assert "Student accuracy 80.0% last step" in words
    assert "Student accuracy, selected weights 85.0% the weights that agreed best on synthetic images" in words
    assert "Numbers are those of the last step" in words
    assert "no evaluation data chose it" in words


def test_half_a_line_is_skipped(run: Callable[..., Path], log: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    folder = run(tmp_path / "killed", log=log(0.9, 20))
    before = render(folder)
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind": "evaluation", "step": 210, "student_accu\xc3')
    assert render(folder) == before
    assert "90.0%" in before


def test_values_that_are_no_numbers_are_skipped(run: Callable[..., Path], tmp_path: Path) -> None:
    lines = [{"kind": "train", "step": step, "loss": value} for step, value in enumerate([2.0, float("nan"), None, "x", 1.25])]
    assert "total 1.25" in Page(render(run(tmp_path / "odd", log=lines))).words


def test_a_class_that_was_never_made_stands_out(run: Callable[..., Path], tmp_path: Path) -> None:
    text = render(run(tmp_path / "gap", class_counts=[4, 0, 6]))
    assert "2 of 3 classes were made; from 0 to 6 images a class." in text
    assert text.count('class="right tight none"') == 1


def test_only_pictures_of_the_folder(run: Callable[..., Path], demo: Path, tmp_path: Path) -> None:
    folder = run(tmp_path / "other", samples=[([[0, 255]] * 2, 1, 0.5)])
    listed: list[dict[str, Any]] = [
        {"file": "../../demo/synthetic/samples/000-00.png", "class": 0, "confidence": 1.0},
        {"file": "gone.png", "class": 0},
    ]
    (folder / "samples" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    listed += [{"file": "bad.png", "class": 0}, {"file": "001-00.png", "class": 1, "confidence": None}]
    (folder / "samples" / "samples.json").write_text(json.dumps({"samples": listed}))
    assert (folder / "samples" / listed[0]["file"]).is_file()
    page = Page(render(folder))
    assert len(page.all("img")) == 1
    assert "0 —" not in page.words


def test_many_classes_many_pictures_stay_small(run: Callable[..., Path], log: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    import numpy as np

    draw = np.random.default_rng(0)
    folder = run(
        tmp_path / "many",
        log=log(0.7, 3000, ("ce", "bn", "contrast")),
        confusion=(np.eye(150, dtype=int) * 50 + draw.poisson(0.2, (150, 150))).tolist(),
        class_counts=[5] * 150,
        samples=[(draw.integers(0, 255, (64, 64, 3)), index % 150, 0.5) for index in range(450)],
    )
    text = render(folder)
    assert len(text) < 2_000_000
    assert "of 450 stored pictures are shown" in text
    page = Page(text)
    heat = text[text.index('<figure class="chart heat') :]
    assert heat[: heat.index("</figure>")].count("<text") < 40
    assert 20 < len(page.all("img")) <= 240


def test_cells_carry_numbers_up_to_thirty_classes(run: Callable[..., Path], tmp_path: Path) -> None:
    for classes, numbered in ((30, True), (31, False)):
        matrix = [[987 if row == column else 0 for column in range(classes)] for row in range(classes)]
        heat = render(run(tmp_path / str(classes), confusion=matrix)).partition('<figure class="chart heat')[2]
        assert (heat.count(">987</text>") == classes) is numbered


def test_charts_take_the_colours_of_the_page(demo: Path) -> None:
    text = render(demo)
    drawn = "".join(re.findall(r"<svg viewBox.*?</svg>", text, flags=re.DOTALL))
    assert not re.search(r"(fill|stroke): ?#", drawn)
    assert "var(--s0)" in drawn
    assert "fill: currentColor" in drawn
    assert "DejaVu" not in drawn


def test_refuses_what_is_no_run_folder(tmp_path: Path, run: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        write_report(tmp_path)
    with pytest.raises(InputError, match="not a run folder"):
        write_report(tmp_path / "gone")
    broken = run(tmp_path / "broken")
    (broken / "result.json").write_text('{"half": ')
    with pytest.raises(InputError, match=r"result\.json"):
        write_report(broken)
    (broken / "config.yaml").write_text("# tacit run: distill\na: [1\n")
    with pytest.raises(InputError, match=r"config\.yaml"):
        write_report(broken)
    assert not (broken / "report.html").exists()
