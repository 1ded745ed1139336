"""From words to a verb: the parser is made of the verb's own fields and docstrings."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import MISSING, fields
from inspect import get_annotations
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from tacit.core.errors import InputError, nearest
from tacit.core.models import ModelRef, import_object
from tacit.distill.objectives import DISTILLERS
from tacit.federate import ALGORITHMS, PARTITIONS, Algorithm, Partition
from tacit.helptext import HelpFormatter, arrange
from tacit.synthesize import METHODS, Method
from tacit.verbs import VERBS
from tacit.verbs.base import LaunchVerb, RunVerb, Verb

__all__ = ["build_parser", "parse"]

set_parsing_settings(subclasses_enabled=[Method, Algorithm, Partition], docstring_parse_attribute_docstrings=True)

CHOSEN: dict[str, tuple[type, ...]] = {"method": METHODS, "algorithm": ALGORITHMS, "partition": PARTITIONS}
"""Options that name one of several classes, whose fields they then have."""


_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "tuple": "a list",
    "list": "a list",
    "NoneType": "null",
}


class _Parser(ArgumentParser):
    """Says what is wrong in one line, with the nearest name, and leaves the exit to the caller."""

    def __init__(self, *args: Any, **options: Any) -> None:  # those of chosen classes are made by jsonargparse, of this class too
        super().__init__(*args, **options | {"formatter_class": HelpFormatter})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if isinstance(ex, InputError):
            raise ex
        raise InputError(_in_one_line(message, self)) from ex


def _in_one_line(message: str, parser: ArgumentParser) -> str:
    options = [option.removeprefix("--") for action in parser._actions for option in action.option_strings if option.startswith("--")]
    if unknown := re.search(r"unrecognized arguments?: (\S+)", message):
        name = unknown[1].partition("=")[0]
        return f"no option is called {name}{nearest(name.removeprefix('--'), options)}"
    chosen = re.search(rf'key "({"|".join(CHOSEN)})"', message)
    if inner := re.search(r"no option is called [^\n]*", message):  # said by the parser of a class's own fields
        return f"{chosen[1] if chosen else 'method'}: {inner[0].strip()}"
    if key := re.search(r"Option '([\w.]+)' is not accepted", message):
        group = re.search(r'Parser key "(\w+)"', message)
        name = f"{group[1]}.{key[1]}" if group and f"{group[1]}.{key[1].split('.')[0]}" not in options else key[1]
        return f"no option is called {name!r}{nearest(name, options)}"
    if chosen and (given := re.search(r"Expected a dot import path string: (\S+)", message)):
        known = [kind.__name__ for kind in CHOSEN[chosen[1]]]
        if ":" in given[1]:
            return f"{chosen[1]}: a class of your own is named with a dot, as {given[1].replace(':', '.')}, got {given[1]}"
        return f"no {chosen[1]} is called {given[1]!r}{nearest(given[1], known, most=20)}"
    if (why := _refused(message)) is not None:
        return why
    text = re.sub(r"<class '([\w.]+)'>", r"\1", message)
    text = re.sub(r'Parser key "([^"]+)":', r"\1:", text)
    return _expected(re.sub(r"\s+", " ", text).strip())


def _refused(message: str) -> str | None:
    """Return why a value that may also be left out is refused, where jsonargparse says more than what type it wants; None: it does not."""
    found = re.search(
        r'key "([\w.]+)":\s+Does not validate.*?Errors:\n(.*?)\n\s*Given value type: .*?\n\s*Given value: (.*)', message, re.DOTALL
    )
    if found is None:
        return None
    key, listed, given = found.groups()
    reasons = [" ".join(one.split()) for one in re.split(r"(?m)^\s+- ", listed) if one.strip()]
    reasons = [one for one in reasons if one != "Expected a <class 'NoneType'>"]
    if len(reasons) != 1:
        return None
    why = reasons[0]
    if of := re.match(r"Problem with given class_path '([\w.]+)': (.*)", why):
        return f"{key}: can't use {of[1]}: {of[2]}"
    if of := re.match(r"Import path does not correspond to a subclass of (\w+)", why):
        return f"{key}: expected a class made of tacit's {of[1]}, got {given.strip()}"
    if of := re.match(r"Expected a tuple with (\d+) elements", why):
        return f"{key}: expected a list of {of[1]}, got {given.strip()}"
    if of := re.match(r"([\w.]+: expected .*)", why):  # said by the parser of a class's own fields
        return f"{key}.{of[1]}"
    return None if why.startswith("Expected a") else f"{key}: {why}"


def _expected(text: str) -> str:
    """Return jsonargparse's words about a value of the wrong type as ``expected ..., got ...``; others as they are."""
    given = re.search(r"(?:Got value|Given value): (.*)$", text)
    kinds = re.findall(r"Expected an? (typing\.Literal\[[^]]*\]|\w+)(?= - |\.? G)", text)
    said = [_TYPES[kind] if kind in _TYPES else f"one of {kind[15:-1]}" for kind in kinds if kind in _TYPES or kind.startswith("typing.")]
    if not given or not said or len(said) < len(kinds):
        return text
    begun = re.split(r"Expected an? |Does not validate", text)[0]
    return f"{begun}expected {' or '.join(said)}, got {given[1]}"


def build_parser(verb: str) -> ArgumentParser:
    """Return the parser of a verb."""
    kind: type[Verb] = import_object(VERBS[verb][0])
    bare = _bare(kind)
    words = f" {bare[0].upper()}{' ...' if bare[1] else ''}" if bare else ""
    parser = _Parser(prog=f"tacit {verb}", usage=f"tacit {verb}{words} [options]")
    parser.add_argument("--config", action="config", help="YAML file with any of the options below; the command line wins.")
    special = {f.name: f.metadata["cli"] for f in fields(kind) if "cli" in f.metadata}
    parser.add_class_arguments(kind, skip=set(special))
    for name, cli_type in special.items():
        if cli_type is ModelRef:
            parser.add_class_arguments(ModelRef, name)
        else:
            parser.add_argument(f"--{name}", type=cli_type, default=None, help=_help(kind, name))
    for action in parser._actions:
        if action.dest in CHOSEN:
            action.help = f"{action.help} One of {', '.join(one.__name__ for one in CHOSEN[action.dest])}."
        if action.dest == "objective":
            action.help = f"{action.help} Losses: {', '.join(DISTILLERS)}, or package.module:Class."
    shared = [owner for owner in kind.__mro__ if owner in (LaunchVerb, RunVerb)]
    own = [_declared(owner) for owner in kind.__mro__ if owner not in shared]
    arrange(parser, own, {name for owner in shared for name in _declared(owner)}, "Where and how it runs")
    return parser


def _declared(owner: type) -> set[str]:
    return set(get_annotations(owner))


def _help(kind: type[Verb], name: str) -> str:
    from docstring_parser import parse_from_object

    for owner in kind.__mro__:
        for parameter in parse_from_object(owner).params if owner is not object else ():
            if parameter.arg_name == name and parameter.description:
                return parameter.description
    return ""


def parse(verb: str, words: list[str]) -> Verb:
    """Return the verb that `words` describe.

    Raises:
        InputError: Unknown options, values of the wrong type, or what the verb itself refuses.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    kind: type[Verb] = import_object(VERBS[verb][0])
    models = [f.name for f in fields(kind) if f.metadata.get("cli") is ModelRef]
    parser = build_parser(verb)
    flags = [f.name for f in fields(kind) if f.type == "bool"]
    chosen = parser.parse_args(_arranged(words, models, flags, _bare(kind)))
    try:
        made = parser.instantiate(chosen)
    except ValueError as error:
        raise _root(error) from error
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = made.get(field.name)
        if field.name in models:
            value = value if value is not None and value.path else None
            if value is None and field.default is MISSING:
                raise InputError(f"--{field.name} is missing: give a folder that tacit wrote, or package.module:callable")
        values[field.name] = value
    return kind(**values)


def _root(error: BaseException) -> BaseException:
    """Return the `InputError` that a class raised while jsonargparse built it, or else the error itself."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, InputError):
        inner = inner.__cause__ or inner.__context__
    if inner is None and (listed := re.search(r"Errors:\n\s+- (.*?)\n\s+- Expected a <class 'NoneType'>", str(error), re.DOTALL)):
        path = re.search(r"class_path='([\w.]+)'", str(error))
        return InputError(f"{path[1] if path else 'an option'} can't be made: {' '.join(listed[1].split())}")
    return inner or error


def _bare(kind: type[Verb]) -> tuple[str, bool] | None:
    """Return the option that words without a name are for, and whether it takes several; None for none."""
    name = getattr(kind, "positional", None)
    return next(((f.name, f.type.startswith("Sequence[")) for f in fields(kind) if f.name == name and isinstance(f.type, str)), None)


def _arranged(words: list[str], models: list[str], flags: list[str], bare: tuple[str, bool] | None) -> list[str]:
    """Put words into the order and the spelling that the parser wants.

    Dashes inside names become underscores; `--teacher X` means `--teacher.path X`, and several of them a list; a chosen class comes before
    its fields, whatever the order, and a config's choice of another class is dropped whole, so that no field of it leaks.
    """
    pairs, configs = _pairs(words, flags, bare)
    pairs += _named_by_source(pairs)
    chosen = {name: value for option, value in pairs if (name := option.removeprefix("--")) in CHOSEN and value is not None}
    arranged: list[str] = []
    for config in configs:
        given = {model: [value for name, value in pairs if name == f"--{model}"] for model in models}
        arranged += ["--config", json.dumps(_read_config(config, chosen, given))]
    for name, value in chosen.items():
        arranged += [f"--{name}", value]
    for model in models:
        paths = [value for name, value in pairs if name == f"--{model}" and value is not None]
        if paths:
            arranged += [f"--{model}.path", paths[0] if len(paths) == 1 else json.dumps(paths)]
    taken = {*(f"--{name}" for name in chosen), *(f"--{model}" for model in models)}
    for option, given_ in sorted(pairs, key=lambda pair: pair[0].count(".")):  # a class inside a class comes before its own fields too
        if option not in taken:
            arranged += [option] if given_ is None else [f"{option}={given_}"]
    return arranged


def _named_by_source(pairs: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    """Return the choice of a method that `--source` names where options of it are given, so that they are its own."""
    if not any(name.startswith("--method.") for name, _ in pairs) or any(name == "--method" for name, _ in pairs):
        return []
    named = [value.lower() for name, value in pairs if name == "--source" and value is not None]
    return [("--method", kind.__name__) for kind in METHODS if kind.__name__.lower() in named[-1:]]


def _pairs(words: list[str], flags: list[str], bare: tuple[str, bool] | None) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Return (option, value) pairs, and the config files; a flag alone means true, and words without a name are gathered in a list."""
    positional, several = bare or ("", False)
    gathered: list[str] = []
    pairs: list[tuple[str, str | None]] = []
    configs: list[str] = []
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if not word.startswith("--"):
            if word == "-h":
                pairs.append(("--help", None))
            elif several or (positional and not gathered):
                gathered.append(word)
            else:
                raise InputError(f"unexpected word {word!r}: options start with --")
            continue
        name, equals, value = word.partition("=")
        name = "--" + name[2:].replace("-", "_")
        following = words[place] if place < len(words) and not words[place].startswith("--") else None
        if not equals and name[2:] in flags and following not in ("true", "false"):
            value, equals = "true", "="
        elif not equals and following is not None:
            value, equals = following, "="
            place += 1
        if name == "--config":
            configs.append(value)
        elif several and name == f"--{positional}" and equals and not value.startswith("["):
            gathered.append(value)  # `--runs a b c` is meant as `a b c`
        else:
            pairs.append((name, value if equals else None))
    if gathered:
        pairs.append((f"--{positional}", json.dumps(gathered) if several else gathered[0]))
    return pairs, configs


def _read_config(path: str, chosen: dict[str, str], models: dict[str, list[str | None]]) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"config: can't read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise InputError(f"config: {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise InputError(f"config: {path} holds no options: expected a mapping from names to values")
    for model, paths in models.items():
        if loaded.get(model, "") is None:
            loaded.pop(model)  # a run that went without one
        if isinstance(loaded.get(model), str | list):
            loaded[model] = {"path": loaded[model]}
        if paths and isinstance(loaded.get(model), dict) and loaded[model].get("path") not in (paths[0], paths):
            loaded.pop(model)  # another model: its weights and arguments must not leak into the one that was given
        if isinstance(loaded.get(model), dict) and loaded[model].get("path", "") is None:
            raise InputError(
                f"config: {path} was made from Python with a live {model}: give --{model} here, and take `{model}` out of the file"
            )
    for option, wanted in chosen.items():
        stands = loaded.get(option)
        name = stands.get("class_path", "") if isinstance(stands, dict) else str(stands or "")
        if name.rpartition(".")[2].lower() != wanted.rpartition(".")[2].lower():
            loaded.pop(option, None)
    return loaded
