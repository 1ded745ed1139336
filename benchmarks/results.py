"""RESULTS.md, made from the JSON files and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from benchmarks import demo

__all__ = ["write"]

PAGE = Path(__file__).parent / "RESULTS.md"
HEAD = """# Results

Made by `python -m benchmarks` from the files in `results/`; don't edit by hand. Every figure is the last step; mean ± sd over seeds.
"""


def write() -> None:
    """Write RESULTS.md."""
    PAGE.write_text(HEAD + _demo())
    print(f"wrote {PAGE}")


def _spread(values: list[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def _demo() -> str:
    runs: list[dict[str, Any]] = [json.loads(file.read_text()) for file in sorted(demo.FOLDER.glob("seed*.json"))]
    if not runs:
        return "\n## demo\n\nNot run yet: `python -m benchmarks demo`.\n"
    first, seeds = runs[0], [str(run["seed"]) for run in runs]
    ratio, held = first["metrics"]["params_teacher"] / first["metrics"]["params_student"], first["metrics"]["evaluation_images"]
    seconds = [run["wall_seconds"] for run in runs]
    return f"""
## demo: scikit-learn digits, 8x8

`tacit demo`: the teacher is trained on 70 % of the digits; the student has {ratio:.1f} times fewer parameters and saw no digit.
Accuracy in % on the other {held} digits, last step; one digit is {100 / held:.2f} points.

| | {" | ".join(f"seed {seed}" for seed in seeds)} | mean ± sd |
|---|{"---:|" * (len(seeds) + 1)}
{_row("teacher", [run["metrics"]["teacher_accuracy"] for run in runs])}
{_row(f"student, {first['metrics']['method']}", [run["metrics"]["student_accuracy"] for run in runs])}
{_row("the same student on Gaussian noise", [run["metrics"]["baselines"][0]["student_accuracy"] for run in runs])}

Wall time of the whole command: median {median(seconds):.0f} s ({", ".join(f"{s:.0f}" for s in seconds)}) on {first["device"]},
precision {first["precision"]}.
"""


def _row(name: str, shares: list[float]) -> str:
    return f"| {name} | {' | '.join(f'{100 * share:.2f}' for share in shares)} | {_spread([100 * share for share in shares])} |"
