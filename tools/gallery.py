"""Make docs/gallery.md and its pictures from the examples in examples/gallery, each run as it stands.

    python tools/gallery.py            # all of them, two minutes
    python tools/gallery.py scene grid # only these pictures; the page is written anew from all

Every picture is drawn twice, for light and for dark pages. What an example prints is kept beside its picture.
"""

import ast
import contextlib
import io
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

ROOT = Path(__file__).parents[1]
EXAMPLES, PICTURES, PAGE = ROOT / "examples" / "gallery", ROOT / "docs" / "gallery", ROOT / "docs" / "gallery.md"
ORDER = (
    ("Pictures", ("scene", "photo", "methods", "what_if", "vision_transformer", "chest", "region")),
    ("Series, volumes, tables, texts", ("series", "volume", "table", "review", "answer")),
    ("Looking closer", ("curve", "grid", "spread")),
    ("What goes wrong, and how to see it", ("does_not_hold", "shortcut")),
)
HEADER = """# Gallery

Every picture is made by the code below it and by one command, `python tools/gallery.py`, from what comes with the repository:
bundled networks, drawn inputs, photos of scikit-image, small networks that are trained in seconds (`tools/gallery_things.py`).
Nothing is downloaded.
"""
_DARK, _INK, _PALE = "#12141d", "#e6e8f0", "#a9aec0"
_WIDEST = 1400  # pixels
_MANY = 80_000  # colours


def told(name: str) -> tuple[str, str, str]:
    """Return the title of an example, what it says, and its code without both."""
    text = (EXAMPLES / f"{name}.py").read_text("utf-8")
    said = ast.get_docstring(ast.parse(text)) or ""
    title, _, words = said.partition("\n\n")
    return title, words, text.split('"""', 2)[2].strip() + "\n"


def darkened(figure: Figure) -> Figure:
    """Give a figure the colours of a dark page: its ground, its letters and its frames; what it shows stays."""
    figure.set_facecolor(_DARK)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_color(_PALE if text.get_color() == "#555555" else _INK)
    for axes in figure.findobj(Axes):
        assert isinstance(axes, Axes)
        axes.set_facecolor(_DARK)
        axes.tick_params(colors=_PALE)
        for spine in axes.spines.values():
            spine.set_edgecolor("#4a4f63")
        for line in axes.get_lines():
            if line.get_color() in ("#000000", "k", "black"):
                line.set_color("#ffffff")
        for grid in (*axes.get_xgridlines(), *axes.get_ygridlines()):
            grid.set_color("#2d3142")
    return figure


def made(name: str) -> None:
    """Run an example in an empty folder, and keep its picture, light and dark, and what it printed."""
    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        found: dict[str, Any] = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    for suffix, change in (("", lambda figure: figure), ("-dark", darkened)):
        figure = change(found["figure"])
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=200, facecolor=figure.get_facecolor())
        _small(Image.open(buffer)).save(PICTURES / f"{name}{suffix}.png", optimize=True)
    (PICTURES / f"{name}.txt").write_text(printed.getvalue(), "utf-8")


def _small(picture: Image.Image) -> Image.Image:
    """Return a picture no wider than a page shows, with as many colours as maps need."""
    picture = picture.convert("RGB")
    picture.thumbnail((_WIDEST, _WIDEST), Image.Resampling.LANCZOS)
    if picture.getcolors(_MANY) is not None:
        return picture.quantize(256)
    colours = picture.quantize(256, Image.Quantize.MAXCOVERAGE)  # of photos, whose smooth places get edges undithered
    return picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG, palette=colours)


def hero() -> None:
    """Draw scenes and their maps in two rows, for the first page."""
    import torch

    import bitlens
    from bitlens.data.datasets import open_dataset
    from bitlens.view.colours import Scale, dim, overlay

    loaded, scenes = bitlens.load_model("builtin/scenes"), open_dataset("builtin:scenes")
    images = torch.stack([loaded.preprocess(scenes[i].image) for i in (3, 5, 8, 4, 11, 14)])
    found = bitlens.explain(loaded, images)
    scale = Scale.over([one.numpy() for one in found.map], found.unit)
    shown = [loaded.preprocess.display(image).numpy() for image in images]
    maps = [overlay(dim(photo), one.numpy(), scale) for photo, one in zip(shown, found.map, strict=True)]
    side, gap = 192, 12
    page = Image.new("RGBA", (len(shown) * (side + gap) - gap, 2 * side + gap), (0, 0, 0, 0))
    for row, pictures in enumerate(([photo.transpose(1, 2, 0) for photo in shown], maps)):
        for column, picture in enumerate(pictures):
            tile = Image.fromarray((255 * picture.clip(0, 1)).astype("uint8")).resize(
                (side, side), Image.Resampling.BICUBIC
            )
            page.paste(tile, (column * (side + gap), row * (side + gap)))
    page.quantize(256, Image.Quantize.FASTOCTREE).save(PICTURES / "hero.png", optimize=True)


def _shown(name: str, title: str, kind: str) -> str:
    """Return the picture of an example in the colours of the page that it is on."""
    pairs = (("", "light"), ("-dark", "dark"))
    return "".join(f"![{title}](gallery/{name}{end}.png#only-{scheme}){{ .{kind} }}" for end, scheme in pairs)


def _cards() -> str:
    """Return small pictures of all examples, each a way to the example."""
    cards = []
    for name in (name for _, names in ORDER for name in names):
        title = told(name)[0]
        cards.append(f"[{_shown(name, '', 'small')}<span>{title}</span>](#{name.replace('_', '-')})")
    return '<div class="cards" markdown>\n' + "\n".join(cards) + "\n</div>\n"


def _example(name: str) -> str:
    """Return what an example says, its picture, what it printed, and its code."""
    title, words, code = told(name)
    printed = (PICTURES / f"{name}.txt").read_text("utf-8").strip()
    parts = [f"### {title} {{ #{name.replace('_', '-')} }}", words, _shown(name, title, "picture")]
    parts += [f"```text\n{printed}\n```"] if printed else []
    folded = "\n".join(f"    {line}".rstrip() for line in f"```python\n{code}```".splitlines())
    return "\n\n".join([*parts, f'??? code "The code: examples/gallery/{name}.py"\n\n{folded}']) + "\n"


def page() -> str:
    """Return the page."""
    parts = [HEADER, _cards()]
    for heading, names in ORDER:
        parts += [f"## {heading}\n", *map(_example, names)]
    return "\n".join(parts)


def main(names: list[str]) -> None:
    """Make the pictures of some examples, or of all, and the page."""
    PICTURES.mkdir(exist_ok=True)
    for name in names or ["hero", *(name for _, group in ORDER for name in group)]:
        print(name, file=sys.stderr, flush=True)
        hero() if name == "hero" else made(name)
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
