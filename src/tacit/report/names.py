"""Names of rows: the method or source, and then the options in which it differs from others of that name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["describe", "differing", "label", "named"]


def label(verb: str, options: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Return what a run is called before anything is said of its options: ``DFAD``, ``real data``, ``FedGen``, ``pool runs/samples``.

    Args:
        verb: Whose run it is; `distill` and, where the algorithm is known, `federate` go without saying.
        options: Its options, flat.
        metrics: Its metrics, which name the method where the options do not.
    """
    if verb == "federate" and (algorithm := options.get("algorithm") or metrics.get("algorithm")):
        return str(algorithm)
    method, source = options.get("method") or metrics.get("method"), options.get("source")
    how = str(method) if method else "real data" if source == "data" else f"pool {source}" if source else ""
    return how if how and verb == "distill" else f"{verb} {how}".strip()


def named(kinds: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> list[str]:
    """Return a name for each of several kinds of run, none twice.

    The label is enough where no other kind has it. Where several have it, the options follow in which they differ, and what was measured
    only where the options do not tell two apart.

    Args:
        kinds: For each its label, options and circumstances, flat.
    """
    names = [label for label, _, _ in kinds]
    for facts in ([options for _, options, _ in kinds], [measured for _, _, measured in kinds]):
        for name in [name for name, count in Counter(names).items() if count > 1]:
            places = [place for place, other in enumerate(names) if other == name]
            for place, fields in zip(places, _fields([facts[place] for place in places]), strict=True):
                names[place] = name + fields
    seen: Counter[str] = Counter()
    for place, name in enumerate(names):
        seen[name] += 1
        names[place] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return names


def _fields(kinds: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return for each what sets it apart from the others: `` (kd=1,l1=0.1), lr=0.01``."""
    apart = differing(kinds)
    ends = {key: key.rpartition(".")[2] for key in apart}
    short = Counter(ends.values())
    return [
        (f" ({options['objective']})" if "objective" in apart and "objective" in options else "")
        + "".join(
            f", {ends[key] if short[ends[key]] == 1 else key}={describe(options[key])}"
            for key in apart
            if key in options and key != "objective"
        )
        for options in kinds
    ]


def differing(kinds: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the options in which those that have them differ."""
    keys = dict.fromkeys(key for options in kinds for key in options)
    return [key for key in keys if len({describe(options[key]) for options in kinds if key in options}) > 1]


def describe(value: Any) -> str:
    """Return an option in few words; an objective given as a list as it could stand on the command line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list) and value and all(isinstance(term, Mapping) and "loss" in term for term in value):
        return ",".join(_term(term) for term in value)
    return ",".join(map(describe, value)) if isinstance(value, list) else str(value)


def _term(term: Mapping[str, Any]) -> str:
    rest = " ".join(f"{key}={describe(value)}" for key, value in term.items() if key not in ("loss", "weight"))
    return f"{term['loss']}={describe(term.get('weight', 1.0))}" + (f" with {rest}" if rest else "")
