"""The runs that test claims: end to end on generated data, and the figures that are made of them."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import stdev

import pytest

from benchmarks.__main__ import main
from benchmarks.claims import CLAIMS, fluctuation
from tacit.core.errors import InputError


def test_fluctuation_is_that_of_the_second_half_and_of_its_changes() -> None:
    found = fluctuation([9.0, 9.0, 9.0, 1.0, 2.0, 4.0])
    assert found["mean"] == pytest.approx(7 / 3)
    assert found["sd"] == pytest.approx(stdev([1.0, 2.0, 4.0]))
    assert found["sd_of_changes"] == pytest.approx(stdev([1.0, 2.0]))
    with pytest.raises(InputError, match="at least 2 values, got 1"):
        fluctuation([1.0])


def test_the_grid_has_twelve_settings_of_each_of_five_methods() -> None:
    names = [label.partition("/")[0] for label in CLAIMS["rdskd-robustness"].rows]
    assert {name: names.count(name) for name in names} == dict.fromkeys(("RDSKD", "DAFL", "MSKD", "ZSKD", "DeepInversion"), 12)
    assert len({repr(method) for method in CLAIMS["rdskd-robustness"].rows.values()}) == 60


@pytest.mark.parametrize("name", ["cmi-diversity", "rdskd-penalty"])
def test_a_claim_is_tested_end_to_end(name: str, tmp_path: Path) -> None:
    assert main(["claims", "--claim", name, "--smoke", "--out", str(tmp_path)]) == 0
    runs = [json.loads(file.read_text()) for file in sorted((tmp_path / "results/claims" / name).glob("*.json"))]
    assert {run["row"] for run in runs} == set(CLAIMS[name].rows)
    assert (tmp_path / "figures" / f"{name}.png").is_file()
    page = (tmp_path / "RESULTS.md").read_text()
    assert all(f"| `{label}` |" in page for label in CLAIMS[name].rows)
    assert "seed 1" in page.partition(f"### {name}")[2]
    if name == "cmi-diversity":
        assert all(run["pool"]["diversity"]["judge"]["cosine"] >= 0 for run in runs)
    else:
        assert all(len(run["losses"]["classes"]) == 8 for run in runs)
