"""Suite `demo`: the command `tacit demo` as a user runs it, over seeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["KEPT", "run"]

KEPT = Path("results", "demo")
"""Where results are, under the home of all."""


def run(seeds: list[int], home: Path) -> None:
    """Run the demo once for each seed that has no result yet; one process at a time, threads as tacit chooses them."""
    (home / KEPT).mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        kept = home / KEPT / f"seed{seed}.json"
        if kept.exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
            words = ["demo", "--seed", str(seed), "--out", str(Path(folder) / "demo"), "--json"]
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "tacit.cli", *words], env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            result = json.loads(done.stdout)
        result["wall_seconds"] = round(time.perf_counter() - start, 1)
        kept.write_text(json.dumps(result, indent=1) + "\n")
        print(f"demo, seed {seed}: student {result['metrics']['student_accuracy']:.4f} in {result['wall_seconds']:.0f} s")
