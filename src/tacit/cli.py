"""The command line: `tacit <verb>`. A static table names the verbs, so that help comes before anything heavy is imported."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tacit.core.errors import InputError, nearest
from tacit.verbs import VERBS

if TYPE_CHECKING:
    from tacit.verbs.base import Outcome

__all__ = ["main"]

FLAGS = ("--json", "--debug")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code: 0 done, 2 the input is wrong, 1 anything else."""
    try:
        try:
            return _main(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # who reads has heard enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if words[0] in ("-V", "--version", "version"):
        from importlib.metadata import version

        print(f"tacit {version('tacit')}")
        return 0
    as_json, debug = ("--json" in words, "--debug" in words)
    try:
        if words[0] not in VERBS:
            raise InputError(f"no verb is called {words[0]!r}{nearest(words[0], VERBS)}; `tacit --help` lists them")
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads fall 30-fold in speed beside any other process
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        outcome = _run(words[0], [word for word in words[1:] if word not in FLAGS])
    except InputError as error:
        return _failed(str(error), 2, debug)
    except KeyboardInterrupt:
        return _failed("stopped; a run goes on from its last checkpoint with `--resume`", 1, debug)
    except Exception as error:  # whatever it is, a user sees one line, and `--debug` shows all
        line = str(error).strip().splitlines()[0] if str(error).strip() else ""
        return _failed(f"{type(error).__name__}: {line} (`--debug` shows where)", 1, debug)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # of several processes, the first speaks
        print(json.dumps(outcome.result, indent=2) if as_json else _table(outcome))
    return 0


def _run(verb: str, words: list[str]) -> Outcome:
    from tacit.command import parse

    return parse(verb, words).run()


def _failed(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"tacit: {message}", file=sys.stderr)
    return code


def _usage() -> str:
    width = max(len(verb) for verb in VERBS)
    verbs = "\n".join(f"  {verb:<{width}}  {about}" for verb, (_, about) in VERBS.items())
    return (
        "usage: tacit <verb> [options]\n\n"
        "Make trained networks smaller, faster and shareable without their training data.\n\n"
        f"verbs:\n{verbs}\n\n"
        "`tacit <verb> --help` lists the options of a verb; every option can stand in a YAML file given by `--config`.\n"
        "`--max-seconds` and `--max_seconds` are the same, and so with all; `--method.help DFAD` lists the options of a method.\n"
        "`--json` prints the result as JSON, `--debug` the traceback of an error. Start with `tacit demo`."
    )


def _table(outcome: Outcome) -> str:
    width = max((len(label) for label, _ in outcome.rows), default=0)
    above = [outcome.text, ""] if outcome.text else []
    return "\n".join([*above, *(f"{label:<{width}}  {value}".rstrip() for label, value in outcome.rows)])


if __name__ == "__main__":
    sys.exit(main())
