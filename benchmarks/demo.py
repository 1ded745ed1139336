"""Suite `demo`: the commands that need no arguments, `tacit demo` and `tacit federate`, as a user runs them, over seeds."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from benchmarks.provenance import code
from tacit.core.files import write_file

__all__ = ["KEPT", "add_arguments", "kept", "main"]

KEPT = Path("results", "demo")
"""Where results are, under the home of all."""
COMMANDS = {"demo": "", "federate": "federate-"}
"""Commands, and how the names of their files begin."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="one run each; those that are there are not run again")
    parser.add_argument("--again", action="store_true", help="also run again what is there; it stands until then")
    parser.add_argument("--out", type=Path, help="where results/, figures/ and RESULTS.md go; not given: benchmarks/")


def kept(home: Path, command: str) -> list[Path]:
    """Return the results of a command, by seed."""
    return sorted((home / KEPT).glob(f"{COMMANDS[command]}seed*.json"))


def main(options: argparse.Namespace, home: Path) -> int:
    """Run each command once for each seed, one process at a time, threads as tacit chooses them; return the number that failed."""
    failed = 0
    for seed in options.seeds:
        for command, prefix in COMMANDS.items():
            file = home / KEPT / f"{prefix}seed{seed}.json"
            if options.again or not file.exists():
                try:
                    _run(command, seed, file)
                except Exception:  # the others go on, whatever it was
                    failed += 1
                    print(f"{command}, seed {seed}: FAILED\n{traceback.format_exc()}", file=sys.stderr, flush=True)
    return failed


def _run(command: str, seed: int, file: Path) -> None:
    known = code(jobs=1)
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        words = [command, "--seed", str(seed), "--out", str(Path(folder) / command), "--json"]
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "tacit.cli", *words], env=environment, stdout=subprocess.PIPE, text=True, check=True)
        result = json.loads(done.stdout)
    result |= {"wall_seconds": round(time.perf_counter() - start, 1), "code": known}
    write_file(file, json.dumps(result, indent=1) + "\n")
    print(f"{command}, seed {seed}: {result['metrics']['student_accuracy']:.4f} in {result['wall_seconds']:.0f} s")
