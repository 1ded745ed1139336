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


def _speed(options: argparse.Namespace, home: Path) -> int:
    speed.run(home)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    suites = made.add_subparsers(metavar="SUITE", help="without one, only RESULTS.md is written anew")
    one = suites.add_parser("demo", help=demo.__doc__, description=demo.__doc__)
    demo.add_arguments(one)
    one.set_defaults(action=demo.main)
    suites.add_parser("speed", help=speed.__doc__, description=speed.__doc__).set_defaults(action=_speed)
    one = suites.add_parser("data_free", help=data_free.__doc__, description=data_free.__doc__)
    data_free.add_arguments(one)
    one.set_defaults(action=data_free.main)
    one = suites.add_parser("claims", help=claims.__doc__, description=claims.__doc__)
    claims.add_arguments(one)
    one.set_defaults(action=claims.main)
    one = suites.add_parser("compression", help=compression.__doc__, description=compression.__doc__)
    compression.add_arguments(one)
    one.set_defaults(action=compression.main)
    one = suites.add_parser("representation", help=representation.__doc__, description=representation.__doc__)
    representation.add_arguments(one)
    one.set_defaults(action=representation.main)
    one = suites.add_parser("federated", help=federated.__doc__, description=federated.__doc__)
    federated.add_arguments(one)
    one.set_defaults(action=federated.main)
    one = suites.add_parser("segmentation", help=segmentation.__doc__, description=segmentation.__doc__)
    segmentation.add_arguments(one)
    one.set_defaults(action=segmentation.main)
    one = suites.add_parser("teachers", help=teachers.__doc__, description=teachers.__doc__)
    teachers.add_arguments(one)
    one.set_defaults(action=teachers.main)
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
