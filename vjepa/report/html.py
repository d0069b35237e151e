"""Templates filled into pages that hold their style and need no other file."""

from __future__ import annotations

from typing import Any

import jinja2
from markupsafe import Markup


def render(template: str, **values: Any) -> str:
    """The page that a template of this package makes of the values; what is no `Markup` is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vjepa.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    loader = environment.loader
    assert loader is not None
    style = Markup(loader.get_source(environment, "page.css")[0])  # our own file: goes in as it is
    return environment.get_template(template).render(style=style, **values)
