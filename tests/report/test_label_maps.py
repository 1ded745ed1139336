"""Label maps on the page, their legend, and how well each class is found."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pages import HOSTILE, Page
from tacit.core.palette import palette
from tacit.report.page import render

NAMES = ["sky", "road", "car"]


def test_the_page_says_mean_iou_and_shows_maps_in_order(dense: Path) -> None:
    page = Page(render(dense))
    for said in (
        "reaches 52.3% mean IoU; the teacher reaches 61.0%.",
        "Student mIoU 52.3% mean over classes",
        "Teacher mIoU 61.0%",
        "Student pixel accuracy 87.0%",
        "Evaluated on 5 images, on all pixels that have a class.",
        "Mean IoU over time",
        "student 30.0%",
        "They agree on 1,890 of 2,006 evaluation pixels.",
        "Numbers are percentages of what the teacher says.",
    ):
        assert said in page.words, said
    assert [picture["alt"] for picture in page.all("img")][:3] == ["Image 1", "Image 1: teacher", "Image 1: student"]
    assert page.words.count("image teacher student") == 2
    assert {"maps", "iou"} <= {section["id"] for section in page.all("section")}
    assert "classes" not in {section["id"] for section in page.all("section")}


def test_the_legend_has_each_class_in_its_colour_and_iou_has_a_bar_or_a_dash(dense: Path) -> None:
    text = render(dense)
    for name, colour in zip(NAMES, palette(NAMES), strict=True):
        swatch = f'style="background: rgb{colour}"></span>{name}'
        assert swatch + "</li>" in text
        assert swatch + "</th>" in text
    table = text[text.index('id="iou"') : text.index('id="confusion"')]
    assert re.findall(r"width: ([\d.]+)%", table) == ["90.00", "80.00", "80.00", "75.00", "13.00"]
    assert "—" in table


def test_maps_are_made_small_without_mixing_classes(run: Callable[..., Path], maps: Callable[..., Path], tmp_path: Path) -> None:
    folder = maps(run(tmp_path / "large", class_names=NAMES), side=250, images=1, who=("teacher",))
    with Image.open(folder / "samples" / "0-teacher.png") as opened:
        striped = np.zeros((250, 250), dtype=np.uint8)
        striped[:, ::2] = 2
        made = Image.frombytes("P", (250, 250), striped.tobytes())
        made.putpalette(opened.getpalette() or [])
    made.save(folder / "samples" / "0-teacher.png")
    pictures = [picture["src"] or "" for picture in Page(render(folder)).all("img")]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[1].partition(",")[2]))).convert("RGB"))
    assert max(shown.shape[:2]) == 96
    assert {tuple(colour) for colour in shown.reshape(-1, 3).tolist()} <= {(0, 0, 0), (0, 255, 0)}


def test_a_truth_is_told_of_before_the_page_is_shared(dense: Path, run: Callable[..., Path], tmp_path: Path) -> None:
    assert "are of the evaluation images themselves" in Page(render(dense)).words
    plain = run(tmp_path / "plain")
    assert "are of the evaluation images themselves" not in Page(render(plain)).words


@pytest.mark.parametrize("file", ["../secret.png", "/etc/passwd", 3, None])
def test_only_maps_beside_the_list_are_read(dense: Path, file: object) -> None:
    Image.new("RGB", (4, 4)).save(dense / "secret.png")
    path = dense / "samples" / "samples.json"
    listed = json.loads(path.read_text())
    listed["samples"][0]["maps"]["teacher"] = file
    path.write_text(json.dumps(listed))
    assert [picture["alt"] for picture in Page(render(dense)).all("img")][:2] == ["Image 1", "Image 1: student"]


def test_hostile_names_of_classes_are_only_text(dense: Path) -> None:
    path = dense / "result.json"
    result = json.loads(path.read_text())
    result["metrics"]["class_names"] = [HOSTILE, "road", "car"]
    path.write_text(json.dumps(result))
    page = Page(render(dense))
    assert HOSTILE in page.words
    assert not page.all("script")
