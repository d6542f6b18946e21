"""What stands where an answer will be: an invitation, what is being done, or why there is none."""

from html import escape

from bitlens.view.arrays import Floats
from bitlens.view.encoding import picture_uri


def message_html(text: str) -> str:
    """Show a remark in place of an answer."""
    return f'<p class="bitlens-say">{escape(text)}</p>'


def working_html(text: str, frame: Floats | None) -> str:
    """Show what is being done, with the map so far (H, W, 3) if there is one."""
    picture = f'<img src="{picture_uri(frame)}" alt="The map so far">' if frame is not None else ""
    return f'<div class="bitlens-busy" role="status"><p class="bitlens-say">{escape(text)}</p>{picture}</div>'


def refusal_html(text: str) -> str:
    """Show why something cannot be explained."""
    return f'<p class="bitlens-refused" role="alert">{escape(text)}</p>'
