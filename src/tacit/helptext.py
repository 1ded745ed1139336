"""How a verb's options are shown by `--help`: its own before those of every run, each with a word for its type and with its default."""

from __future__ import annotations

import re
from argparse import Action
from collections.abc import Collection, Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, DefaultHelpFormatter

__all__ = ["HelpFormatter", "arrange"]

WORDS = {
    "<class 'Path'>": "PATH",
    "int": "N",
    "float": "X",
    "bool": "{true,false}",
    "Path": "PATH",
    "str": "TEXT",
    "list": "LIST",
    "tuple": "LIST",
    "dict": "MAPPING",
}
"""What stands for a value, by its type."""


class HelpFormatter(DefaultHelpFormatter):
    """Says of each option what it is and what holds if it is not given, and nothing twice."""

    def _get_help_string(self, action: Action) -> str:
        text, *typed = re.split(r" \((?:required, )?type: %\(type\)s", str(super()._get_help_string(action)), maxsplit=1)
        if not typed:
            return text.replace("Path to a configuration file.", "YAML file with the options of this group.")
        if action.required:
            return f"{text} (required)"
        plain = isinstance(action.default, bool | int | float | str | Path) and action.default != ""
        return f"{text} (default: {_spelt(action.default)})" if plain and "not given:" not in text else text

    def _get_default_metavar_for_optional(self, action: Action) -> str:
        named = str(self._get_type_str(action) or "").removeprefix("Optional[").removesuffix(" | null")
        if choices := re.fullmatch(r"Literal\[(.*?)\]+", named):
            return "{" + choices[1].replace("'", "").replace(" ", "") + "}"
        return WORDS.get(named.partition("[")[0], str(super()._get_default_metavar_for_optional(action)))


def _spelt(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def arrange(parser: ArgumentParser, order: Sequence[Collection[str]], last: Collection[str], heading: str) -> None:
    """Put options in the order in which a reader looks for them.

    Args:
        parser: Whose options these are.
        order: Names that belong together, a set after the other; of one in several sets, the first counts. Groups stay apart.
        last: Names that stand below all others.
        heading: Of their group.
    """
    ranks = {name: rank for rank, names in reversed(list(enumerate(order))) for name in names}
    below = parser.add_argument_group(heading)
    for group in parser._action_groups[:-1]:
        plain = all("." not in action.dest.removesuffix(".help") for action in group._group_actions)
        named = sorted(group._group_actions, key=lambda action: ranks.get(action.dest.removesuffix(".help"), -1) if plain else 0)
        below._group_actions += [action for action in named if action.dest in last]
        group._group_actions[:] = [action for action in named if action.dest not in last]
