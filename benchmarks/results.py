"""RESULTS.md, made from the JSON files and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import (
    claim_tables,
    compression_tables,
    demo,
    federated_plots,
    federated_tables,
    latency,
    overview,
    plots,
    representation_plots,
    representation_tables,
    segmentation_tables,
    speed,
    tables,
)
from benchmarks.parts import spread
from benchmarks.places import HOME

__all__ = ["write"]

HEAD = """# Results

Made by `python -m benchmarks` from the files in `results/`; don't edit by hand. Every figure is the last step; mean ± sd over seeds.
Thresholds that verdicts name (at least, at most, less than, aim, asked) are aims of this project, not published figures, unless it is said.
"""


def write(home: Path = HOME) -> None:
    """Write RESULTS.md and its figures into `home`, from the JSON files in ``home/results``."""
    plots.data_free(home)
    claim_tables.draw_claims(home)
    compression_tables.draw_compression(home)
    representation_plots.draw_representation(home)
    federated_plots.draw_federated(home)
    page = home / "RESULTS.md"
    sections = (
        *(overview.overview, _demo, _speed, tables.data_free, segmentation_tables.segmentation, claim_tables.claims),
        *(compression_tables.compression, latency.section, representation_tables.representation, federated_tables.federated),
    )
    page.write_text(HEAD + "".join(section(home) for section in sections), encoding="utf-8")
    print(f"wrote {page}")


def _demo(home: Path) -> str:
    runs = _commands(home, "demo")
    if not runs:
        return "\n## demo\n\nNot run yet: `python -m benchmarks demo`.\n"
    first, seeds = runs[0], [str(run["seed"]) for run in runs]
    ratio, held = first["metrics"]["params_teacher"] / first["metrics"]["params_student"], first["metrics"]["evaluation_images"]
    return f"""
## demo: scikit-learn digits, 8x8

`tacit demo`: the teacher is trained on 70 % of the digits; the student has {ratio:.1f} times fewer parameters and saw no digit.
Accuracy in % on the other {held} digits, last step; one digit is {100 / held:.2f} points.

| | {" | ".join(f"seed {seed}" for seed in seeds)} | mean ± sd |
|---|{"---:|" * (len(seeds) + 1)}
{_row("teacher", [run["metrics"]["teacher_accuracy"] for run in runs])}
{_row(f"student, {first['metrics']['method']}", [run["metrics"]["student_accuracy"] for run in runs])}
{_row("the same student on Gaussian noise", [run["metrics"]["baselines"][0]["student_accuracy"] for run in runs])}

{_wall(runs)}
{_federate(home)}"""


def _commands(home: Path, name: str) -> list[dict[str, Any]]:
    """Return the results of a command that needs no arguments, by seed."""
    return [json.loads(file.read_text()) for file in demo.kept(home, name)]


def _federate(home: Path) -> str:
    runs = _commands(home, "federate")
    if not runs:
        return ""
    first = runs[0]["metrics"]
    return f"""
`tacit federate`: the digits among 10 clients, {first["rounds"]} rounds. Accuracy of the global model in % on {first["evaluation_images"]}
digits that no client has, last round.

| | {" | ".join(f"seed {run['seed']}" for run in runs)} | mean ± sd |
|---|{"---:|" * (len(runs) + 1)}
{_row("FedAvg", [run["metrics"]["baselines"][0]["student_accuracy"] for run in runs])}
{_row("FedGen", [run["metrics"]["student_accuracy"] for run in runs])}

{_wall(runs)}
"""


def _wall(runs: list[dict[str, Any]]) -> str:
    seconds = [run["wall_seconds"] for run in runs]
    each = ", ".join(f"{s:.0f}" for s in seconds)
    where = f"{runs[0]['device']},\nprecision {runs[0]['precision']}"
    return f"Wall time of the whole command: median {median(seconds):.0f} s ({each}) on {where}."


def _speed(home: Path) -> str:
    file = home / speed.KEPT
    if not file.exists():
        return "\n## speed\n\nNot run yet: `python -m benchmarks speed`.\n"
    result = json.loads(file.read_text())
    columns = [(layout, precision) for layout in ("contiguous", "channels_last") for precision in ("fp32", "bf16")]
    took = {(s["model"], s["threads"], s["layout"], s["precision"]): s["ms"] for s in result["steps"]}
    rows = [
        f"| {model} | {threads} | {' | '.join(f'{took[(model, threads, *column)]:.1f}' for column in columns)} |"
        for model, threads in dict.fromkeys((s["model"], s["threads"]) for s in result["steps"])
    ]
    moments = result["moments"]
    return f"""
## speed: one step of training on a CPU

Forward, backward and SGD on 128 images, milliseconds of wall time (median), on {result["cores"]} cores ({result["cpu"]}, AVX512-BF16:
{"yes" if result["avx512_bf16"] else "no"}), torch {result["torch"]}. tacit picks one thread and fp32 for small models, else all cores and
bf16 where the CPU computes in it; always channels_last.

| model | threads | {" | ".join(f"{layout}, {precision}" for layout, precision in columns)} |
|---|---:|{"---:|" * len(columns)}
{chr(10).join(rows)}

Batch moments of 128x16x32x32 features with their backward pass, one thread: {moments["batch_moments_ms"]:.1f} ms, against
{moments["var_mean_ms"]:.1f} ms by `torch.var_mean`.
"""


def _row(name: str, shares: list[float]) -> str:
    return f"| {name} | {' | '.join(f'{100 * share:.2f}' for share in shares)} | {spread([100 * share for share in shares])} |"
