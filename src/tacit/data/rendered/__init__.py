"""Rendered sets: pictures of scenes that are drawn from a seed, with what is known of each pixel."""

from tacit.data.rendered.solids import solids

__all__ = ["solids"]
