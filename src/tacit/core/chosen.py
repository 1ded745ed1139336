"""Chosen: what a user chooses by the name of its class, as methods, federated algorithms and partitions are."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

__all__ = ["Chosen"]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A class of which an object *is* the config of one choice: its name, and the fields that the choice has."""

    @property
    def name(self) -> str:
        """The name by which it is chosen."""
        return type(self).__name__

    def config(self) -> dict[str, Any]:
        """Return it as it stands in a config file; values of its fields are as they are."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"class_path": path, "init_args": {field.name: getattr(self, field.name) for field in fields(self)}}
