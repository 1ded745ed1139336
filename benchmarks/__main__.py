"""`python -m benchmarks SUITE ...`: measure, keep each run as JSON as it ends, and write RESULTS.md from all that is there."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import claims, compression, data_free, demo, federated, representation, results, runner, segmentation, speed, teachers
from benchmarks.places import HOME
from tacit.core.errors import InputError

__all__ = ["main"]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    suites = made.add_subparsers(metavar="SUITE", help="without one, only RESULTS.md is written anew")
    for module in (demo, speed, data_free, claims, compression, representation, federated, segmentation, teachers):
        one = suites.add_parser(module.__name__.removeprefix("benchmarks."), help=module.__doc__, description=module.__doc__)
        module.add_arguments(one)
        one.set_defaults(action=module.main)
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Run a suite, or several; return 0 where all went well, 1 where a run failed, 2 where a suite refused its input."""
    options = parser().parse_args(words)
    with tempfile.TemporaryDirectory() as temporary:  # of a smoke run nothing is kept
        smoke = getattr(options, "smoke", False)
        home = getattr(options, "out", None) or (Path(temporary) if smoke else HOME)
        if smoke and home.resolve() == HOME.resolve():
            return _refused(f"--out: {home} holds the real results; give a smoke run another folder, or none")
        asked = runner.suites(options) if "action" in options else ()
        failed = refused = 0
        for suite in asked:
            try:
                failed += options.action(argparse.Namespace(**{**vars(options), "suite": suite}), home)
            except InputError as error:  # the suites behind it go on
                refused += 1
                _refused(f"{suite}: {error}" if len(asked) > 1 else str(error))
        if not getattr(options, "list", False) and (refused < len(asked) or not asked):
            results.write(home)
    return 2 if refused else 1 if failed else 0


def _refused(why: str) -> int:
    """Say what is wrong with the input; return the exit status of that."""
    print(f"benchmarks: {why}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
