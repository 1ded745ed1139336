"""Suite `demo`: the commands that need no arguments, `tacit demo` and `tacit federate`, as a user runs them, over seeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["KEPT", "kept", "run"]

KEPT = Path("results", "demo")
"""Where results are, under the home of all."""
COMMANDS = {"demo": "", "federate": "federate-"}
"""Commands, and how the names of their files begin."""


def kept(home: Path, command: str) -> list[Path]:
    """Return the results of a command, by seed."""
    return sorted((home / KEPT).glob(f"{COMMANDS[command]}seed*.json"))


def run(seeds: list[int], home: Path) -> None:
    """Run each command once for each seed that has no result yet; one process at a time, threads as tacit chooses them."""
    (home / KEPT).mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for command, prefix in COMMANDS.items():
            _run(command, seed, home / KEPT / f"{prefix}seed{seed}.json")


def _run(command: str, seed: int, file: Path) -> None:
    if file.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        words = [command, "--seed", str(seed), "--out", str(Path(folder) / command), "--json"]
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "tacit.cli", *words], env=environment, stdout=subprocess.PIPE, text=True, check=True)
        result = json.loads(done.stdout)
    result["wall_seconds"] = round(time.perf_counter() - start, 1)
    file.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{command}, seed {seed}: {result['metrics']['student_accuracy']:.4f} in {result['wall_seconds']:.0f} s")
