"""The page of a federation, and federated runs in a comparison."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import tacit
from pages import HOSTILE, Page
from tacit.report import Row, group
from tacit.report.clients import deals
from tacit.report.federated import _spans
from tacit.report.federation import dropped, sent
from tacit.report.page import render
from tacit.report.read import Record, read, read_figures
from tacit.report.table import cells


def edit(folder: Path, **metrics: Any) -> None:
    result = json.loads((folder / "result.json").read_text())
    result["metrics"] |= metrics
    (folder / "result.json").write_text(json.dumps(result))


def test_all_algorithms_stand_side_by_side(federation: Path) -> None:
    page = Page(render(federation))
    for expected in (
        "3 clients learned together, and their images stayed where they were",
        "FedGen reaches 91.0% accuracy and FedAvg reaches 80.0% accuracy.",
        "FedGen 91.0% last round, on the test images FedAvg 80.0%",
        "Clients 3 2 learn in a round",
        "run accuracy, % 85% in round down dropped FedGen 91.0 4 8.0 MB 3 FedAvg 80.0 never 4.0 MB 0",
        "rounds 4; 20% in round 1; up 2.0 MB; for tests 3.0 MB; s a round 1.5; parameters 3,394",
        "By round FedGen 91.0% FedAvg 80.0%",
        "By what was sent FedGen 91.0% FedAvg 80.0%",
        "FedGen FedGen 91.0% ensemble of the clients' models 93.5%",
        "the images that it set aside (10% of its own)",
        "Client Images it holds Classes FedGen FedAvg 0 126 2 of 3 75.0% 75.0% 1 30 1 of 3 91.0% 80.0% 2 291 3 of 3 100.0% 100.0%",
        "FedGen Client Rounds Why 1 1 to 2, 4 NaN in encode.weight",
        "FedAvg: the clients learn total 0.5",
        "one image is 0.19 points",
    ):
        assert expected in page.words, expected
    assert [section["id"] for section in page.all("section")] == [
        "table", "accuracy", "baselines", "holdings", "clients", "dropped", "losses", "privacy", "repeat",
    ]  # fmt: skip
    labels = [figure["aria-label"] for figure in page.all("svg") if figure.get("role") == "img"]
    assert "Line chart of accuracy by rounds: FedGen ends at 91.0%, FedAvg ends at 80.0%." in labels
    assert "How the images of 3 classes are spread over 3 clients; the table has the numbers by client." in labels


def test_one_algorithm_alone_tells_its_costs_in_tiles(federation: Path) -> None:
    words = Page(render(federation / "FedGen")).words
    for expected in (
        "Accuracy 91.0% last round, on the test images On clients' own images 85.0% mean of the clients Rounds 4 1.5 s each",
        "20% reached round 1 first time, on the test images 85% reached round 4",
        "Sent 10.0 MB 8.0 MB down, 2.0 MB up Sent for tests 3.0 MB both ways, beside that",
        "Answers dropped 3 for the reasons below",
    ):
        assert expected in words, expected
    assert "Side by side" not in words
    other = Page(render(federation / "FedAvg")).words
    assert "85% reached never" in other
    assert "None: every answer that came was sound, and was used." in other


def test_the_page_holds_to_the_rules_of_all_pages(federation: Path) -> None:
    for name in ("FedAvg", "FedGen"):
        edit(federation / name, class_names=[HOSTILE, "b", "c"])
    with (federation / "FedAvg" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "dropped", "step": 2, "client": 0, "why": HOSTILE}) + "\n")
    text = render(federation)
    assert text == render(federation)
    page = Page(text)
    assert HOSTILE in page.words
    assert not page.all("script")
    ids = re.findall(r'\sid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', text)) <= set(ids)
    drawn = "".join(re.findall(r"<svg viewBox.*?</svg>", text, flags=re.DOTALL))
    assert not re.search(r"(fill|stroke): ?#", drawn)


def test_an_unfinished_federation_shows_its_curve_and_no_numbers(federation: Path) -> None:
    folder = federation / "FedAvg"
    (folder / "result.json").unlink()
    page = Page(render(folder))
    assert "There is no result yet" in page.words
    assert [section["id"] for section in page.all("section")] == ["accuracy", "losses", "privacy", "repeat"]


def test_where_nobody_knows_the_clients_only_their_own_tests_are_shown(federation: Path) -> None:
    edit(federation / "FedAvg", client_counts=None, class_names=None)
    page = Page(render(federation / "FedAvg"))
    assert "holdings" not in {section["id"] for section in page.all("section")}
    assert "FedAvg 0 — — 75.0%" in page.words


def test_clients_that_have_names_are_called_by_them(federation: Path) -> None:
    for run in ("FedGen", "FedAvg"):
        edit(federation / run, client_names=["Aberdeen", "Bergen", "Cork"])
    page = Page(render(federation))
    assert "1 Bergen 30 1 of 3 91.0% 80.0%" in page.words
    assert "Aberdeen Bergen Cork" in page.words, "below the picture of who holds what"


def test_one_round_draws_no_line(federation: Path) -> None:
    log = federation / "FedAvg" / "metrics.jsonl"
    log.write_text("".join(f"{line}\n" for line in log.read_text().splitlines() if '"step": 1,' in line))
    found = {section["id"] for section in Page(render(federation / "FedAvg")).all("section")}
    assert not found & {"accuracy", "losses"}


def test_classes_without_names_go_by_their_numbers(federation: Path) -> None:
    edit(federation / "FedAvg", class_names=None)
    assert re.search(r">2</text>", render(federation / "FedAvg").partition('id="holdings"')[2].partition("</section>")[0])


def test_what_was_sent_adds_up_and_drops_are_gathered(federation: Path) -> None:
    record = read_figures(federation / "FedGen")
    assert sent(record) == {1.0: 2.5e6, 2.0: 5e6, 3.0: 7.5e6, 4.0: 10e6}
    assert dropped(record) == [("1", "NaN in encode.weight", [1, 2, 4])]
    half = Record(name="x", verb="federate", config={}, result=None, log=({"kind": "round", "step": 1}, {"kind": "dropped", "step": 1}))
    assert sent(half) == {}
    assert dropped(half) == []


def test_nodes_that_could_not_be_used_are_told_with_their_reason(federation: Path) -> None:
    with (federation / "FedGen" / "metrics.jsonl").open("a") as file:
        for step in (1, 2):
            file.write(json.dumps({"kind": "refused", "step": step, "node": "18446744073709551615", "why": "no such folder"}) + "\n")
        file.write(json.dumps({"kind": "dropped", "step": 2, "client": 10, "why": "late"}) + "\n")
    words = Page(render(federation / "FedGen")).words
    assert "1 1 to 2, 4 NaN in encode.weight 10 2 late node 18446744073709551615 1 to 2 no such folder" in words


@pytest.mark.parametrize(("rounds", "told"), [([3], "3"), ([1, 2, 3, 7], "1 to 3, 7"), ([1, 3, 4], "1, 3 to 4")])
def test_rounds_in_words(rounds: list[int], told: str) -> None:
    assert _spans(rounds) == told


def test_a_comparison_takes_the_runs_inside_and_tells_what_rounds_cost(federation: Path, tmp_path: Path) -> None:
    outcome = tacit.compare(runs=[federation, federation / "FedAvg"], out=tmp_path / "c")
    assert [row["name"] for row in outcome.metrics["rows"]] == ["FedGen", "FedAvg"]
    assert re.search(r"FedGen +91.0 +4 +8.0 MB +3\n", outcome.text or "")
    assert not any("algorithm" in note for note in outcome.metrics["notes"])
    page = Page(render(tmp_path / "c"))
    assert "By what was sent FedGen 91.0% FedAvg 80.0%" in page.words
    assert "1 30 1 of 3 91.0% 80.0%" in page.words


def test_over_seeds_targets_tell_in_how_many_runs_and_clients_are_the_first_seeds(federation: Path) -> None:
    first = read_figures(federation / "FedGen")
    result = dict(first.result or {})
    metrics = {**result["metrics"], "rounds_to": {"0.85": None, "0.2": 3}, "client_counts": [[1, 1, 1]] * 3}
    second = Record(name="b", verb="federate", config=first.config, result={**result, "seed": 8, "metrics": metrics}, log=first.log)
    (row,) = group([second, first])
    assert row.federation is not None
    assert dict(row.federation.reached) == {"0.85": (4, None), "0.2": (1, 3)}
    assert row.steps is None
    assert row.curve is not None
    assert row.curve.bytes == (2.5e6, 5e6, 7.5e6, 10e6)
    heads, lines = cells([row])
    told = dict(zip(heads, lines[0], strict=True))
    assert (told["85% in round"], told["20% in round"]) == ("4 (in 1 of 2 runs)", "1 to 3")
    (deal,) = deals([row])
    assert deal.counts == ((120, 0, 6), (0, 30, 0), (1, 40, 250))
    assert Row.load(json.loads(json.dumps(asdict(row)))) == row


def test_rows_of_two_deals_stand_apart(federation: Path) -> None:
    edit(federation / "FedAvg", client_counts=[[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    found = deals(group(list(read(federation).parts)))
    assert [deal.names for deal in found] == [("FedGen",), ("FedAvg",)]
    assert all(deal.measured for deal in found)
