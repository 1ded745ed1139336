"""What the rounds of a federation are said to have brought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tacit.federate import Round
from tacit.verbs.story import ENOUGH, Story


def told(accuracies: Sequence[float | None], own: Sequence[float] = (), *, every: int = 5) -> Story:
    """Return a story with a test in each so many rounds."""
    story = Story([0.5])
    for number, accuracy in enumerate(accuracies, start=1):
        mine = {0: own[number - 1]} if own else {}
        sent = {"bytes_down": 1, "bytes_up": 1, "seconds": 0.1, "numbers": {}, "dropped": {}, "learned": True, "loss": None, "replies": 2}
        story.note(Round(number=number * every, accuracy=accuracy, own=mine, **sent))  # type: ignore[arg-type]
    return story


@pytest.mark.parametrize(
    ("story", "kinds"),
    [
        (told([0.3, 0.6, 0.9]), set()),
        (told([0.3, 0.95, 0.88]), set()),
        (told([0.3, 0.95, 0.7]), {"fall"}),
        (told([0.3, 0.95, 0.12]), {"chance"}),
        (told([0.1, 0.12], every=ENOUGH // 2 - 1), set()),
        (told([None, None, None], [0.9, 0.8, 0.1]), {"chance"}),
        (told([None, None, None]), set()),
    ],
)
def test_a_federation_that_learned_nothing_or_lost_what_it_knew_is_warned_of(story: Story, kinds: set[str]) -> None:
    assert set(story.faults(classes=10)) == kinds


def test_a_server_whose_own_learning_broke_is_warned_of_whatever_came_of_it() -> None:
    story = told([0.9])
    for number, skipped in ((6, {"skipped": 1.0}), (7, {}), (8, {"skipped": 1.0})):
        sent = {"bytes_down": 1, "bytes_up": 1, "seconds": 0.1, "dropped": {}, "learned": True, "loss": None, "replies": 2}
        story.note(Round(number=number, numbers=skipped, **sent))  # type: ignore[arg-type]
    later = Story([0.5])
    later.load_state_dict(story.state_dict())
    assert "broke in 2 of 8 rounds" in later.faults(10)["skipped"]
    assert told([0.9]).faults(10) == {}


def test_clients_whose_weights_exploded_are_warned_of_from_the_first_round_on() -> None:
    story = Story([0.5])
    sent: dict[str, Any] = {"bytes_down": 1, "bytes_up": 1, "seconds": 0.1, "learned": True, "loss": None, "replies": 2, "numbers": {}}
    dropped = {0: "x holds NaN or infinite values", 1: "x holds values beyond 1e+06, which no training makes", 2: "no answer in time"}
    story.note(Round(number=1, dropped=dropped, **sent))
    assert "2 answers were dropped for weights that exploded" in story.faults(10)["diverged"]


def test_the_warning_says_what_to_change_and_outlives_a_resume() -> None:
    later = Story([0.5])
    later.load_state_dict(told([0.3, 0.95, 0.7]).state_dict())
    assert later.faults(10) == {"fall": "accuracy was 95.0% after round 10 and is 70.0% now: a lower `lr`, or fewer `local_steps`, keep it"}
    assert "try a tenth of it" in told([0.1, 0.1, 0.1]).faults(10)["chance"]
