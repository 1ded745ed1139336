"""The page and the picture of a comparison."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tacit.report.comparison import MAX_LINES, picture
from tacit.report.page import render
from tacit.report.rows import Curve, Row, Spread

HOSTILE = '<script>alert(1)</script>" onload="x $\\frac{a}{$ & {{ 7 * 7 }} url(http://evil.example/a)'


def row(name: str, end: float, *, curve: bool = True) -> Row:
    at = tuple(float(step) for step in range(10, 101, 10))
    mean = tuple(end * step / 100 for step in at)
    return Row(
        name=name,
        verb="distill",
        runs=(f"runs/{name}-0", f"runs/{name}-1"),
        options={"objective": "kd=1", "training.lr": 0.1},
        seeds=(0, 1),
        student_accuracy=Spread.of([end - 0.01, end + 0.01]),
        student_accuracy_ema=None,
        student_accuracy_selected=None,
        agreement=Spread.of([0.8, 0.8]),
        teacher_accuracy=Spread.of([0.95, 0.95]),
        teacher="f" * 64,
        params_teacher=20_000,
        student="tacit.zoo:resnet",
        params_student=5_000,
        evaluated_on="digits, test",
        evaluation_images=10_000,
        sees_data=False,
        images_synthesized=Spread.of([2048.0, 2048.0]),
        steps=Spread.of([100.0, 100.0]),
        steps_exact=True,
        max_seconds=None,
        synthesis_seconds=Spread.of([20.0, 30.0]),
        training_seconds=Spread.of([10.0, 10.0]),
        devices=("cpu (1 threads)",),
        precision="32-true",
        selection="last",
        curve=Curve(steps=at, seconds=at, mean=mean, low=tuple(v - 0.05 for v in mean), high=tuple(v + 0.04 for v in mean))
        if curve
        else None,
    )


@pytest.fixture
def compared(run: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the folder of a comparison."""

    def write(*rows: Row, notes: tuple[str, ...] = ()) -> Path:
        plain: dict[str, Any] = {"rows": json.loads(json.dumps([asdict(one) for one in rows])), "notes": list(notes)}
        return run(tmp_path / "compare", "compare", config={"runs": ["a", "b"]}, **plain)

    return write


def test_the_page_says_the_table_the_notes_and_the_folders(compared: Callable[..., Path]) -> None:
    page = render(compared(row("DFAD", 0.9), row("CMI", 0.8), notes=("Mind the gap.",)))
    words = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())
    for expected in (
        "4 runs in 2 rows. “DFAD” comes first: 90.00 ± 1.41% accuracy over 2 seeds; its teacher reaches 95.00%.",
        "run accuracy, % DFAD 90.00 ± 1.41 CMI 80.00 ± 1.41",
        "all: agreement 80.00 ± 0.00%; teacher 95.00%; parameters 20,000 → 5,000; seeds 2 (0, 1)",
        "synthesis, s 25.0; training, s 10.0; device cpu (1 threads); precision 32-true",
        "Mind the gap.",
        "runs/CMI-0 , runs/CMI-1",
        "seconds of synthesis and training",
        "Dotted across: the teacher's 95.0%.",
    ):
        assert expected in words, expected
    assert re.findall(r"<h[12]>(.*?)</h[12]>", page) == ["Comparison", "Side by side", "Accuracy on the way", "The runs"]


def test_one_row_without_accuracy_is_a_page_too(compared: Callable[..., Path]) -> None:
    page = render(compared(replace(row("DFAD", 0.9, curve=False), student_accuracy=None)))
    assert "2 runs in 1 row. No accuracy was measured." in page
    assert 'id="accuracy"' not in page
    assert "Before you compare" not in page


def test_bands_take_the_colour_of_their_line(compared: Callable[..., Path]) -> None:
    page = render(compared(row("DFAD", 0.9), row("CMI", 0.8)))
    assert re.search(r"fill: var\(--s0\); fill-opacity: 0\.16", page)
    assert re.search(r"fill: var\(--s1\); fill-opacity: 0\.16", page)
    assert not re.search(r"(fill|stroke): ?#", page)


def test_ids_of_the_two_charts_do_not_collide(compared: Callable[..., Path]) -> None:
    page = render(compared(row("DFAD", 0.9), row("CMI", 0.8)))
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', page)) <= set(ids)


def test_hostile_names_are_only_text(compared: Callable[..., Path]) -> None:
    page = render(compared(row(HOSTILE, 0.9), notes=(HOSTILE,)))
    assert "<script" not in page
    assert 'onload="' not in page
    assert "{{ 7 * 7 }}" in page
    assert picture([row(HOSTILE, 0.9)]) is not None


def test_no_more_lines_are_drawn_than_can_be_told_apart(compared: Callable[..., Path]) -> None:
    page = render(compared(*(row(f"m{index}", 0.9 - index / 100) for index in range(MAX_LINES + 2))))
    assert f"The best {MAX_LINES} of {MAX_LINES + 2} rows are drawn." in page
    assert page.count('<ul class="legend">') == 2
    assert page.count("<li><svg") == 2 * MAX_LINES


def test_the_picture_shows_each_row_in_its_colour_and_is_the_same_each_time() -> None:
    rows = [row("DFAD", 0.9), row("CMI", 0.5)]
    png = picture(rows)
    assert png is not None
    assert png == picture(rows)
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int)
    for colour in ((0x0F, 0x6C, 0xBD), (0xC7, 0x50, 0x00)):
        assert (np.abs(pixels - colour).max(axis=2) < 8).sum() > 200
    assert picture([row("DFAD", 0.9, curve=False)]) is None
