"""Street: a rendered set of streets, each pixel of one of eleven classes."""

from tacit.data.rendered.street.scenes import street

__all__ = ["street"]
