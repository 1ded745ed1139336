"""Chosen: what a user chooses by the name of its class, as methods, federated algorithms and partitions are."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from tacit.core.errors import InputError

__all__ = ["Chosen"]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A class of which an object *is* the config of one choice: its name, and the fields that the choice has."""

    @property
    def name(self) -> str:
        """The name by which it is chosen."""
        return type(self).__name__

    def at_least(self, **bounds: float) -> None:
        """Raise `InputError` where a field that was given is less than its bound, or NaN."""
        for name, least in bounds.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                wanted = f"at least {least:g}" if least else "0 or more"
                raise InputError(f"{self.name}.{name}: expected {wanted}, got {value}")

    def config(self) -> dict[str, Any]:
        """Return it as it stands in a config file; values of its fields are as they are."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"class_path": path, "init_args": {field.name: getattr(self, field.name) for field in fields(self)}}
