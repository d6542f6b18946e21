"""HTML from templates: whatever a template is given is escaped, so that no name of a file or class becomes a part of it."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render_template(name: str, **values: Any) -> str:
    """Fill in a template of `view/templates`."""
    return _environment().get_template(name).render(**values)


def asset(name: str) -> str:
    """Read a file of `view/templates` as it is."""
    return files("bitlens.view").joinpath("templates", name).read_text("utf-8")


def policy(script: str) -> str:
    """Return the content security policy of a page that may run its own script and ask no server for anything."""
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{known}'; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bitlens.view", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    return environment


def _percent(value: float) -> str:
    """Write a share as 0 to 100."""
    return f"{100 * min(max(float(value), 0.0), 1.0):.1f}"
