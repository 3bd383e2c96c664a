"""The environments in which the report's templates are rendered."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from arpgnet.pipeline.report.sentences import plain

PACKAGE = "arpgnet.pipeline.report"


def render_page(name: str, **values: Any) -> str:
    """Render an HTML template in the page's style; every text from data is escaped."""
    style = Markup(files(PACKAGE).joinpath("style.css").read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(PACKAGE, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(name).render(style=style, **values)


def render_card(name: str, **values: Any) -> str:
    """Render a Markdown template; every text from data is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(PACKAGE, "."),
        # applied to every value in the template, not to its own text
        finalize=plain,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(**values)
