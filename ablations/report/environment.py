"""The templates of all pages, and the filters that they use."""

from __future__ import annotations

import re

import jinja2
from markupsafe import Markup, escape


def template(name: str) -> jinja2.Template:
    """A template of this package; what it is given is escaped, and what it lacks is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ablations.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = code
    return environment.get_template(name)


def code(text: str) -> Markup:
    """Plain text with `code` in it as HTML."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))
