"""An audit's page for people: what the explanations are meant for, what was measured, and what must not be concluded."""

from collections.abc import Mapping
from typing import Any

from bitlens.version import __version__
from bitlens.view.html import render_template

_MOST_NAMES = 40


def audit_page(about: Mapping[str, Any]) -> str:
    """Return the page, as text. It runs no script and asks no server; the same audit always gives the same page."""
    asked = about["coverage"]["asked"]
    return render_template(
        "audit.html.j2",
        about=about,
        asked=list(asked.items())[:_MOST_NAMES],
        more=max(0, len(asked) - _MOST_NAMES),
        version=__version__,
    )
