"""Parts: tensors inside of what a module returns, which may be a tuple, a dict, or an object, and what is inside of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

__all__ = ["find_part", "first_tensor", "only_tensor", "outline", "tensor_parts"]


def outline(output: object) -> str:
    """Return in words what a module returns."""
    if isinstance(output, Mapping):
        return f"a dict with the keys {[str(key) for key in output]}"
    if isinstance(output, Sequence) and not isinstance(output, str):
        return f"a {type(output).__name__} of {len(output)}"
    return f"a {type(output).__name__}"


def find_part(output: object, path: str) -> object:
    """Return what is inside of `output` at a path of keys, indices and attributes joined by dots, as ``hidden_states.2``; None: nothing.

    A key that has dots itself is found too.
    """
    if isinstance(output, Mapping) and path in output:
        found: object = output[path]
        return found
    name, _, rest = path.partition(".")
    return find_part(_step(output, name), rest) if rest else _step(output, name)


def _step(output: object, name: str) -> object:
    if isinstance(output, Mapping) and name in output:
        found: object = output[name]
        return found
    if isinstance(output, Sequence) and name.removeprefix("-").isdigit():
        return output[int(name)] if -len(output) <= int(name) < len(output) else None
    return None if isinstance(output, Tensor) else getattr(output, name, None)


def tensor_parts(output: object) -> dict[str, Tensor]:
    """Return all tensors inside of `output`, by their paths; ``""`` is that of a tensor itself."""
    return dict(_walk(output, ()))


def _walk(output: object, path: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(output, Tensor):
        yield ".".join(path), output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _walk(value, (*path, str(key)))
    elif isinstance(output, Sequence) and not isinstance(output, str | bytes):
        for number, value in enumerate(output):
            yield from _walk(value, (*path, str(number)))
    elif hasattr(output, "__dataclass_fields__"):
        for name in output.__dataclass_fields__:
            yield from _walk(getattr(output, name, None), (*path, name))


def only_tensor(output: object) -> Tensor | None:
    """Return the one tensor that `output` is or holds; None where there are several, or none."""
    found = list(tensor_parts(output).values())
    return found[0] if len(found) == 1 else None


def first_tensor(args: Sequence[object], kwargs: Mapping[str, object]) -> Tensor | None:
    """Return the first argument of a call, where it is a tensor; of a call by keywords alone, the first tensor among them."""
    if args:
        return args[0] if isinstance(args[0], Tensor) else None
    return next((value for value in kwargs.values() if isinstance(value, Tensor)), None)
