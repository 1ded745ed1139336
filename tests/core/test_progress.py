"""Progress in a pipe: plain lines on stderr."""

from __future__ import annotations

import pytest

from tacit.core.progress import Progress


def test_a_line_has_numbers_in_four_digits_and_words_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("distill", 10, "steps", every=0.0) as progress:
        progress.update(1, {"kd": 0.123456})
        progress.update(10, {"kd": 1 / 3, "classes": "10/10", "conf": ".98"}, final=True)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("distill: 1/10 steps")
    assert last.startswith("distill: 10/10 steps")
    assert last.endswith("kd 0.3333  classes 10/10  conf .98")


def test_speed_counts_from_the_beginning_and_not_what_was_done_before(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("tacit.core.progress.time.monotonic", lambda: now[0])
    for before, done, speed in ((0, 4, "0.4/s"), (4, 6, "0.2/s")):
        with Progress("distill", 8, "steps", every=0.0, done=before) as progress:
            now[0] += 10
            progress.update(done)
        assert f"distill: {done}/8 steps  {speed}" in capsys.readouterr().err


def test_the_time_left_goes_by_the_share_of_the_work_where_pieces_are_not_all_of_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("tacit.core.progress.time.monotonic", lambda: now[0])
    with Progress("distill", 100, "steps", every=0.0, done=10, share=0.2) as progress:
        now[0] = 10.0
        progress.update(20)  # a ninth of the pieces that were left, but the share is the pieces' where none is given
        progress.update(20, share=0.4)
        progress.update(20, share=1.0, final=True)
    pieces, shared, last = capsys.readouterr().err.splitlines()
    assert "eta" not in pieces  # no more than was done before
    assert "eta 30 s" in shared
    assert "eta" not in last


def test_a_quiet_one_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("distill", 10, "steps", quiet=True, every=0.0) as progress:
        progress.update(10, final=True)
    assert capsys.readouterr().err == ""
