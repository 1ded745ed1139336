"""Rendered sets: pictures of scenes that are drawn from a seed, with what is known of each pixel."""

from collections.abc import Callable, Mapping
from functools import partial

from tacit.data.images import ImageSet
from tacit.data.rendered.solids import solids
from tacit.data.rendered.street import street
from tacit.data.rendered.textures import textures

__all__ = ["RENDERED", "solids", "street", "textures"]

RENDERED: Mapping[str, Callable[..., ImageSet]] = {
    "solids": solids,
    "street": street,
    "street@other": partial(street, textures="other"),
    "textures": textures,
}
"""By the name that `load_data` knows; each takes a split, and ``size``, height and width."""
