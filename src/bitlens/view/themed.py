"""A page for light and dark readers alike: what its axes hold as a picture, letters in the reader's own colours around it."""

from matplotlib.figure import Figure
from matplotlib.text import Text

from bitlens.view.canvas import svg_of
from bitlens.view.encoding import as_data_uri

_INK = "#0b0c0d"
"""The colour of letters while the page is drawn; then it gives its place to the reader's."""
_STYLE = "svg{--ink:#3f3f47} @media (prefers-color-scheme: dark){svg{--ink:#d4d4d8}}"
_PICTURED = 2.3  # lines and surfaces lie below it, ticks and frames above


def themed_uri(page: Figure) -> str:
    """Return a page as an address that holds it: SVG, which asks whether its reader's system is dark. The page is changed."""
    page.set_facecolor("none")
    for text in page.findobj(Text):
        assert isinstance(text, Text)
        text.set_color(_INK)
    for axes in page.axes:
        axes.set_axisbelow(False)
        axes.set_rasterization_zorder(_PICTURED)
    drawn = svg_of(page).decode("utf-8").replace(_INK, "var(--ink)")
    return as_data_uri(drawn.replace("</style>", f" {_STYLE}</style>", 1).encode("utf-8"), "image/svg+xml")
