"""Modalities: what a network sees of an image, by name or by import path; two of them make paired views."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from tacit.core.errors import InputError, nearest
from tacit.core.models import import_object
from tacit.data.modalities.channels import DEPTH, RGB
from tacit.data.modalities.colour import CHROMINANCE, LUMINANCE
from tacit.data.modalities.edges import EDGES, GREY
from tacit.data.modalities.modality import Modality, Views, seen
from tacit.data.modalities.resolution import FULL, low, small

__all__ = ["MODALITIES", "SCALED", "Modality", "ModalityLike", "Views", "ViewsLike", "find_modality", "find_views", "seen"]

MODALITIES: dict[str, Modality] = {each.name: each for each in (FULL, LUMINANCE, CHROMINANCE, GREY, EDGES, RGB, DEPTH)}
"""What can be seen of an image, by name."""
SCALED: dict[str, Callable[..., Modality]] = {"low": low, "small": small}
"""The same, with a whole number behind the name where another than the usual is meant: ``low``, ``low4``."""

ModalityLike = str | Modality | Callable[[Tensor], Tensor]
"""A name, ``package.module:name`` of a `Modality` or of a function of images, or one of these itself."""
ViewsLike = str | Views | Sequence[ModalityLike]
"""The teacher's and the student's: ``luminance-chrominance``, ``package.module:name`` of a `Views`, a pair, or a `Views` itself."""


def find_modality(modality: ModalityLike, option: str = "view") -> Modality:
    """Return what `modality` names.

    Args:
        modality: A name of `MODALITIES` or `SCALED`; an import path of a `Modality`, or of a function of images (N, C, H, W) in [0, 1]; or
            one of these itself.
        option: Named in messages.

    Raises:
        InputError: There is none of that name (the nearest is offered), or what is found is neither.
    """
    if isinstance(modality, str):
        if ":" in modality:
            return _as_modality(import_object(modality), modality, option)
        if modality in MODALITIES:
            return MODALITIES[modality]
        name = modality.rstrip("0123456789")
        if name not in SCALED:
            raise InputError(f"{option}: no view is called {modality!r}{nearest(modality, [*MODALITIES, *SCALED], most=20)}")
        return SCALED[name](int(modality.removeprefix(name))) if modality != name else SCALED[name]()
    return _as_modality(modality, getattr(modality, "__name__", type(modality).__name__), option)


def find_views(views: ViewsLike, option: str = "views") -> Views:
    """Return what `views` names, the teacher's first; arguments and errors as in `find_modality`."""
    if isinstance(views, Views):
        return views
    if isinstance(views, str):
        parts: Sequence[ModalityLike] = views.split("-")
        if len(parts) == 1 and ":" in views and isinstance(found := import_object(views), Views):
            return found
    else:
        parts = views
    if len(parts) != 2:
        raise InputError(f"{option}: expected the teacher's view and the student's, as luminance-chrominance, got {views!r}")
    teacher, student = (find_modality(part, option) for part in parts)
    return Views(teacher=teacher, student=student)


def _as_modality(found: Any, name: str, option: str) -> Modality:
    if isinstance(found, Modality):
        return found
    if not callable(found) or inspect.isclass(found):
        raise InputError(f"{option}: {name} is a {type(found).__name__}, expected a tacit.Modality or a function of images (N, C, H, W)")
    return Modality(name=name, show=found)
