"""Sphinx: `tox -e docs` builds these pages, warnings are errors."""

from __future__ import annotations

import importlib.metadata

project = "linefit-ablations"
author = "the authors of linefit-ablations"
release = version = importlib.metadata.version(project)
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "How far is a CNN from least squares?"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
