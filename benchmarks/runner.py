"""Jobs, each a process of its own that leaves one JSON file as it ends: what every suite of the benchmarks shares.

A job names the function that does its work, ``package.module:function``. That function is called as ``work(arguments, folder)`` with plain
values and an empty folder, thrown away afterwards, and returns what the JSON file keeps.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.provenance import code
from tacit.core.errors import InputError, nearest
from tacit.core.files import read_json, write_file
from tacit.core.models import import_object

__all__ = ["Job", "add_arguments", "add_suites", "check_device", "chosen", "run", "show", "side_by_side", "state", "suites"]

ROOT = Path(__file__).resolve().parents[1]
LAST_LINES = 25
"""Lines of a failed process's output that are shown."""
ALL = "all"
"""Names every suite of a subject."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run.

    Args:
        title: For the lines that are printed.
        file: The JSON file that it leaves; a job whose file is there is not run again.
        work: ``package.module:function``.
        arguments: What the function is given; plain values, that JSON can hold.
        settings: All that decides the outcome but the seed, as the JSON file has it under ``settings``; empty: not compared.
        threads: OMP_NUM_THREADS of its process; None: as torch or tacit choose.
    """

    title: str
    file: Path
    work: str
    arguments: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = 1


def add_suites(parser: argparse.ArgumentParser, names: Sequence[str], *, option: str = "--suite") -> None:
    """Declare the option that says which suites are run; `names` are all of them, in the order in which they are run."""
    said = "what is measured, one after the other; all: everything, in this order"
    parser.add_argument(option, dest="suite", nargs="+", choices=[*names, ALL], required=True, help=said)
    parser.set_defaults(suites=tuple(names))


def suites(options: argparse.Namespace) -> Sequence[str | None]:
    """Return the suites that are asked for, in their order; where there is nothing to choose, None alone."""
    asked: Sequence[str] | None = getattr(options, "suite", None)
    if asked is None:
        return [None]
    return options.suites if ALL in asked else asked


def add_arguments(parser: argparse.ArgumentParser, *, rows: Sequence[str] = ("--rows",)) -> None:
    """Declare the options that every suite has; `rows` are the spellings of the one that chooses rows."""
    said = "rows, by label, in capitals or not; not given: all"
    parser.add_argument(*rows, dest="rows", nargs="+", metavar="ROW", help=said)
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="not given: the suite's; the first of everything goes first")
    parser.add_argument(
        "--jobs",
        type=int,
        help="runs side by side, 0: in this process; not given: 2 on a CPU, 1 on a GPU or where time is measured, 0 with --smoke",
    )
    parser.add_argument("--data", type=Path, help="folder with mnist/ and cifar10/; not given: $TACIT_DATA, else ./data")
    parser.add_argument("--out", type=Path, help="where results/, figures/ and RESULTS.md go; not given: benchmarks/")
    parser.add_argument("--smoke", action="store_true", help="two steps of everything on generated data, to see that it runs")
    parser.add_argument(
        "--again", action="store_true", help="also run again what was run with other settings than today's, or another teacher"
    )
    parser.add_argument("--list", action="store_true", help="only say which runs there are, and which are done")


def chosen(suite: str, wanted: Sequence[str] | None, known: Iterable[str], *, option: str = "--rows", what: str = "row") -> list[str]:
    """Return which names are asked for, whatever their case, in the order in which they are known; all where none is asked for.

    Args:
        suite: Named in the error.
        wanted: What was given to `option`.
        known: Names that there are.
        option: Of the command line.
        what: The names are names of.

    Raises:
        InputError: There is no such name; lists those that there are.
    """
    names = list(dict.fromkeys(known))
    for name in wanted or ():
        if name.lower() not in (each.lower() for each in names):
            near = nearest(name, names, most=len(names))
            listed = "" if near.startswith("; known") else f" Known: {', '.join(names)}"
            raise InputError(f"{option}: suite {suite} has no {what} called {name!r}{near}{listed}")
    return [name for name in names if wanted is None or name.lower() in (each.lower() for each in wanted)]


def side_by_side(options: argparse.Namespace, device: Literal["cpu", "cuda"] = "cpu", *, timed: bool = False) -> int:
    """Return how many runs go side by side, as the options say, or else as is usual; of `timed` runs one, which nothing slows down."""
    usual = 0 if options.smoke else 2 if device == "cpu" and not timed else 1
    return usual if options.jobs is None else int(options.jobs)


def check_device(suite: str, device: Literal["cpu", "cuda"]) -> None:
    """Raise `InputError` where a suite is for a GPU and there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(f"suite {suite}: expected a CUDA device, torch finds none here; try another suite, or --smoke")


def show(jobs: Sequence[Job]) -> int:
    """Print which jobs there are, and which are done; return 0."""
    for job in jobs:
        print(f"{job.title}: {state(job)}")
    print(f"{sum(job.file.exists() for job in jobs)} of {len(jobs)} done")
    return 0


def state(job: Job) -> Literal["done", "done with other settings", "done with another teacher", "to do"]:
    """Return what the job's file says of it."""
    if not job.file.exists():
        return "to do"
    kept = read_json(job.file)
    if job.settings and kept.get("settings") != json.loads(json.dumps(job.settings)):
        return "done with other settings"
    teachers = [*kept.get("teachers", ()), *(kept[role] for role in ("teacher", "judge") if role in kept)]
    return "done with another teacher" if any(_is_another(job, **teacher) for teacher in teachers) else "done"


def _is_another(job: Job, name: str, sha256: str) -> bool:
    """Return whether the teacher that is there now under `name` is not the one of `sha256`."""
    there = Path(job.arguments["teachers"], name, "model.json")
    return there.is_file() and read_json(there)["sha256"] != sha256


def run(
    jobs: Sequence[Job], *, side_by_side: int = 1, say: Callable[[Mapping[str, Any]], str] = lambda outcome: "done", again: bool = False
) -> int:
    """Run the jobs whose file is missing, in order; a job that fails prints its error and does not stop the others.

    Args:
        jobs: In the order in which they are started.
        side_by_side: Processes at the same time; 0: none, all is done in this process. Each file keeps it, under ``code``.
        say: Puts an outcome into a few words.
        again: Whether what was run with other settings, or another teacher, is run anew, too; its file stands until then.

    Returns:
        The number of jobs that failed.
    """
    waiting = []
    for job in jobs:
        found = state(job)
        if found == "to do" or (again and found != "done"):
            waiting.append(job)
        elif found != "done":
            print(f"{job.title}: {found}; --again runs it anew")
    print(f"{len(waiting)} of {len(jobs)} runs to do", flush=True)
    if not waiting:
        return 0
    if side_by_side < 1:
        return sum(_finish(job, *_here(job), say) for job in waiting)
    together = min(side_by_side, len(waiting))
    children: set[subprocess.Popen[str]] = set()
    with ThreadPoolExecutor(side_by_side) as pool:
        futures = {pool.submit(_apart, job, children, together): job for job in waiting}
        try:
            return sum(_finish(futures[future], *future.result(), say) for future in as_completed(futures))
        except BaseException:  # above all Ctrl-C: nothing is left running, what has ended is kept
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(children):
                child.kill()
            raise


def _finish(job: Job, seconds: float, error: str, say: Callable[[Mapping[str, Any]], str]) -> bool:
    """Print how a job ended; return whether it failed."""
    if not error:
        try:
            said = say(read_json(job.file))
        except Exception:  # the others go on; the file stays as it is
            error = traceback.format_exc()
        else:
            print(f"{job.title}: {said} ({seconds:.0f} s)", flush=True)
            return False
    print(f"{job.title}: FAILED after {seconds:.0f} s\n{error}", file=sys.stderr, flush=True)
    return True


def _here(job: Job) -> tuple[float, str]:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                _perform(job.work, job.arguments, Path(folder), job.file, jobs=1)
        except Exception:  # the others go on, whatever it was
            return time.perf_counter() - start, traceback.format_exc()
    return time.perf_counter() - start, ""


def _apart(job: Job, children: set[subprocess.Popen[str]], together: int) -> tuple[float, str]:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"OMP_NUM_THREADS": str(job.threads)} if job.threads else {}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Path(folder, "output").open("w+", encoding="utf-8") as output:
        words = [
            sys.executable,
            "-m",
            "benchmarks.runner",
            job.work,
            json.dumps(dict(job.arguments)),
            str(Path(folder, "work")),
            str(job.file),
            f"--jobs={together}",
        ]
        child = subprocess.Popen(words, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True)
        children.add(child)
        code = child.wait()
        children.discard(child)
        output.seek(0)
        said = output.read().splitlines()[-LAST_LINES:]
    seconds = time.perf_counter() - start
    return seconds, "" if code == 0 else "\n".join([*said, f"(exit code {code})"])


def _perform(work: str, arguments: Mapping[str, Any], folder: Path, file: Path, *, jobs: int | None = None) -> None:
    """Do the work and keep what it returns, and of which code that is; the file appears whole, or not at all."""
    known = code(jobs)  # before the work, which may take longer than the code stays as it is
    folder.mkdir(parents=True, exist_ok=True)
    function: Callable[[Mapping[str, Any], Path], dict[str, Any]] = import_object(work)
    found = {**function(arguments, folder), "code": known}
    kept = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in found.items()]
    write_file(file, "{\n" + ",\n".join(kept) + "\n}\n")  # one key a line, so that a change can be read


def main() -> None:
    """Do one job in this process: ``python -m benchmarks.runner WORK ARGUMENTS FOLDER FILE``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work")
    parser.add_argument("arguments", type=json.loads)
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--jobs", type=int, help="how many run side by side")
    given = parser.parse_args()
    _perform(given.work, given.arguments, given.folder, given.file, jobs=given.jobs)


if __name__ == "__main__":
    main()
