"""The page as a browser shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tacit
from tacit.report import write_report

MEASURE = """<script>
const page = document.documentElement;
const wide = [...document.querySelectorAll("body *")].filter(one => {
  if (one.closest(".scroll, pre, svg")) return false;
  const box = one.getBoundingClientRect();
  return box.width > 0 && box.right > page.clientWidth + 1;
});
const shown = [...document.images].filter(one => one.complete && one.naturalWidth > 0).length;
const said = {width: page.clientWidth, scroll: page.scrollWidth, wide: wide.map(one => one.outerHTML.slice(0, 90)), shown,
  images: document.images.length, ink: getComputedStyle(document.body).color, page: getComputedStyle(document.body).backgroundColor};
</script>"""


def measure(browser: Callable[..., str], path: Path, width: int, *flags: str) -> dict[str, object]:
    """Return what a script measures in a copy of the page, `width` wide: in a frame, since a window has a least width."""
    text = path.read_text(encoding="utf-8")
    policy = re.search(r"<meta http-equiv[^>]*>", text)
    assert policy
    say = MEASURE.replace("</script>", 'parent.postMessage(JSON.stringify(said), "*");</script>')
    copy = path.with_name("copy.html")
    copy.write_text(text.replace(policy[0], "").replace("</body>", say + "</body>"), encoding="utf-8")
    frame = path.with_name("frame.html")
    hear = "onmessage = event => { out.textContent = event.data }"
    frame.write_text(
        f'<body><p id="out"></p><script>{hear}</script><iframe src="copy.html" style="width:{width}px;height:900px;border:0"></iframe>'
    )
    dom = browser("--dump-dom", *flags, page=frame)
    found = re.search(r'<p id="out">(.+?)</p>', dom, flags=re.DOTALL)
    assert found, dom[:2000]
    measured: dict[str, object] = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return measured


@pytest.mark.parametrize("width", [320, 360, 1200])
def test_nothing_sticks_out(browser: Callable[..., str], demo: Path, width: int) -> None:
    measured = measure(browser, write_report(demo), width)
    assert measured["width"] == width
    assert measured["scroll"] == width
    assert measured["wide"] == []
    assert measured["shown"] == measured["images"] == 50


def test_long_names_do_not_stick_out(browser: Callable[..., str], demo: Path) -> None:
    path = demo / "result.json"
    result = json.loads(path.read_text())
    result["metrics"]["class_names"] = ["a_class_whose_name_is_a_good_deal_longer_than_any_phone_is_wide"] * 10
    result["metrics"]["warnings"] = ["w" * 200]
    result["device"] = "cuda:0 (a_device_whose_name_is_a_good_deal_longer_than_any_phone_is_wide)"
    path.write_text(json.dumps(result))
    measured = measure(browser, write_report(demo), 360)
    assert measured["scroll"] == 360
    assert measured["wide"] == []


def test_a_comparison_does_not_stick_out(
    browser: Callable[..., str], run: Callable[..., Path], log: Callable[..., list[dict[str, object]]], tmp_path: Path
) -> None:
    long = "a_method_whose_name_is_a_good_deal_longer_than_any_phone_is_wide"
    for name in (long, "CMI"):
        run(tmp_path / name, config={"method": {"class_path": name}, "objective": "w" * 200 + name}, log=log(0.9, 20), student_accuracy=0.9)
    page = tacit.compare(runs=[tmp_path / long, tmp_path / "CMI"], out=tmp_path / "c").folder
    for width in (320, 1200):
        measured = measure(browser, write_report(page or tmp_path), width)
        assert measured["scroll"] == width
        assert measured["wide"] == []


@pytest.mark.parametrize("width", [320, 1200])
def test_label_maps_do_not_stick_out(browser: Callable[..., str], dense: Path, width: int) -> None:
    measured = measure(browser, write_report(dense), width)
    assert measured["scroll"] == width
    assert measured["wide"] == []
    assert measured["shown"] == measured["images"] == 6


def test_a_federation_does_not_stick_out(browser: Callable[..., str], federation: Path) -> None:
    measured = measure(browser, write_report(federation), 320)
    assert measured["scroll"] == 320
    assert measured["wide"] == []


def test_light_and_dark(browser: Callable[..., str], demo: Path) -> None:
    path = write_report(demo)
    light = measure(browser, path, 800, "--blink-settings=preferredColorScheme=1")
    dark = measure(browser, path, 800, "--blink-settings=preferredColorScheme=0")
    assert _brightness(light["page"]) > 200 > 100 > _brightness(light["ink"])
    assert _brightness(dark["page"]) < 100 < 200 < _brightness(dark["ink"])


def _brightness(colour: object) -> float:
    return float(np.mean([int(value) for value in re.findall(r"\d+", str(colour))[:3]]))


def test_headings_are_in_the_dom(browser: Callable[..., str], demo: Path) -> None:
    dom = browser("--dump-dom", page=write_report(demo))
    headings = re.findall(r"<h[12]>(.*?)</h[12]>", dom)
    assert headings == [
        "A network distilled without its data",
        "Beside the baselines",
        "Synthetic images",
        "Accuracy over time",
        "Losses over time",
        "Health while it ran",
        "Class by class",
        "Student against teacher",
        "Before you share",
        "To repeat this run",
    ]


@pytest.mark.parametrize("scheme", [0, 1])
def test_screenshot_is_not_blank(browser: Callable[..., str], demo: Path, tmp_path: Path, scheme: int) -> None:
    shot = tmp_path / "shot.png"
    browser(f"--screenshot={shot}", "--window-size=1000,4400", f"--blink-settings=preferredColorScheme={scheme}", page=write_report(demo))
    pixels = np.asarray(Image.open(shot).convert("RGB"), dtype=int)
    background = pixels[2, 2]
    drawn = np.abs(pixels - background).max(axis=2) > 40
    assert pixels.shape[:2] == (4400, 1000)
    assert (background.mean() > 200) == (scheme == 1)
    assert 0.02 < drawn.mean() < 0.6
    # No long stretch of the page is empty, down to the footer.
    rows = np.flatnonzero(drawn.any(axis=1))
    assert np.diff(rows[rows < 3800]).max() < 250
    blue = (pixels[..., 2] - pixels[..., 0] > 60).mean()
    assert blue > 0.002, "charts have no colour"
