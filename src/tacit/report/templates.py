"""The templates of the pages: all that is put into them is escaped, and a name they don't know is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from tacit.report import words

__all__ = ["filled"]


def filled(template: str, **values: Any) -> str:
    """Return the template of that file name with `values` in it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": words.percent, "short": words.short}
    return environment.get_template(template).render(**values)
