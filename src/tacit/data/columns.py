"""Further columns of a data set: who wrote a digit, whose face it is."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from tacit.core.errors import InputError, nearest
from tacit.core.models import import_object
from tacit.data.hub import open_hub
from tacit.data.rendered import RENDERED

__all__ = ["load_column"]


def load_column(data: Any, split: str, name: str) -> list[Any]:
    """Return one value an image, in the order in which `load_data` has the images.

    Args:
        data: As `load_data` takes it. Of a torch `Dataset`, the attribute of that name is read.
        split: As `load_data` takes it.
        name: Of the column.

    Raises:
        InputError: Where there is no such column (the nearest name is offered).
    """
    made: Any = data
    if isinstance(data, str) and ":" in data and not Path(data).exists():
        made = import_object(data)
        if callable(made):
            made = made(split=split) if "split" in inspect.signature(made).parameters else made()
    elif isinstance(data, str):
        if data == "digits" or data in RENDERED:
            raise InputError(f"partition: the images of {data} have no column {name!r}, labels alone")
        made = open_hub(data, split)
    columns = getattr(made, "column_names", None)
    if columns is not None:
        if name not in columns:
            raise InputError(f"partition: the data have no column {name!r}{nearest(name, list(columns))}")
        return list(made[name])
    if not hasattr(made, name):
        raise InputError(f"partition: {type(made).__name__} has no attribute {name!r} with one value an image")
    return list(getattr(made, name))
