"""What is neither photo nor text beside its maps: signals, volumes and rows of tables, on a page as photos have it.

Each map has its colour bar and unit; below stands what was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bitlens.core.seen import Seen
from bitlens.errors import InputError
from bitlens.view.arrays import Floats
from bitlens.view.canvas import add_axes, line_height, new_page, width_of, wrap, write
from bitlens.view.colours import Scale
from bitlens.view.comparison import Panel
from bitlens.view.features import draw_features, shown_of
from bitlens.view.panels import draw_bar
from bitlens.view.signals import LABEL, draw_leads, draw_spectrogram, draw_strip, style
from bitlens.view.volumes import NAMES, centre_of, draw_slice, grey_of, sides_of, slices_of

# Inches.
_WIDTH, _MARGIN, _GAP, _BAR, _BAR_TEXT, _SPACE = 7.0, 0.15, 0.1, 0.11, 0.72, 0.22
_LEAD, _LEAST_LEADS, _MOST_LEADS, _STRIP, _SPECTROGRAM, _AXIS = 0.5, 0.9, 3.6, 0.7, 0.8, 0.34
_SLICE, _SMALL_SLICE, _FEATURE = 1.75, 0.8, 0.17
_MONTAGE = 7
# Points.
_TITLE, _HEADING, _BODY, _SMALL = 12.0, 9.0, 9.0, 7.5


@dataclass(frozen=True)
class Reading:
    """One input, its maps, and what is said of them.

    Attributes:
        seen: the input, with `values`.
        panels: the maps, each of the size of the input's places.
        title: what was explained.
        caption: written below.
        outline: non-zero at the places where the answer is known to lie, or None.
    """

    seen: Seen
    panels: Sequence[Panel]
    title: str
    caption: str = ""
    outline: Any = None


def draw_readings(inputs: Sequence[Reading]) -> Figure:
    """Draw signals, volumes or rows of tables, one below the other.

    Raises:
        InputError: there is none, one has no map, or a map is not finite or of another size than its input.
    """
    if not inputs:
        raise InputError("there is nothing to draw: give at least one input")
    parts = [_Part.plan(one) for one in inputs]
    page = new_page(_WIDTH, 2 * _MARGIN + sum(part.height for part in parts) + _SPACE * (len(parts) - 1))
    top = _MARGIN
    for part in parts:
        part.draw(page, top)
        top += part.height + _SPACE
    return page


def map_of(seen: Seen, values: object) -> Floats:
    """Check a map of an input and return it.

    Raises:
        InputError: it is not finite, or of another size than the input.
    """
    found = np.asarray(values, dtype=np.float32)
    if found.shape != seen.places or not np.isfinite(found).all():
        raise InputError(
            f"a map of shape {found.shape} is no map of an input with places {seen.places}, or is not finite"
        )
    return found


@dataclass(frozen=True)
class _Part:
    """The part of a page that one input takes."""

    one: Reading
    maps: Sequence[Floats]
    heading: Sequence[str]
    legend: Sequence[str]

    @classmethod
    def plan(cls, one: Reading) -> "_Part":
        if one.seen.values is None or not one.panels:
            raise InputError("there is no map of a signal, a volume or a row to draw: give at least one")
        maps = [map_of(one.seen, panel.map) for panel in one.panels]
        heading = wrap(one.title, _WIDTH - 2 * _MARGIN, _TITLE, bold=True, max_lines=2)
        return cls(one, maps, heading, wrap(one.caption, _WIDTH - 2 * _MARGIN, _BODY))

    @property
    def height(self) -> float:
        above = len(self.heading) * line_height(_TITLE) + 0.06 if self.heading else 0
        below = len(self.legend) * line_height(_BODY)
        return above + self._body() + below

    def draw(self, page: Figure, top: float) -> None:
        write(page, list(self.heading), _MARGIN, top, _TITLE, bold=True)
        top += len(self.heading) * line_height(_TITLE) + 0.06 if self.heading else 0
        {1: self._draw_row, 2: self._draw_signal, 4: self._draw_volume}[self._axes](page, top)
        write(page, list(self.legend), _MARGIN, top + self._body(), _BODY)

    @property
    def _axes(self) -> int:
        assert self.one.seen.values is not None
        return self.one.seen.values.dim()

    def _body(self) -> float:
        return {1: self._row_height, 2: self._signal_height, 4: self._volume_height}[self._axes]()

    def _named(self, page: Figure, panel: Panel, top: float) -> float:
        """Write what a map is of, where there are several or it has a name; return how high that is."""
        if not panel.title:
            return 0.0
        left = _MARGIN + width_of(panel.title, _HEADING, bold=True) + 0.1
        write(page, [panel.title], _MARGIN, top, _HEADING, bold=True)
        write(
            page,
            wrap(panel.details, _WIDTH - left - _MARGIN, _SMALL, max_lines=1),
            left,
            top + 0.02,
            _SMALL,
            colour=LABEL,
        )
        return line_height(_HEADING) + 0.04

    @staticmethod
    def _name_height(panel: Panel) -> float:
        return line_height(_HEADING) + 0.04 if panel.title else 0.0

    @staticmethod
    def _bar(page: Figure, scale: Scale, top: float, height: float, left: float = _WIDTH - _MARGIN - _BAR_TEXT) -> None:
        draw_bar(add_axes(page, left, top, _BAR, height), scale, ticks=4, size=_SMALL)

    # Signals

    @property
    def _labels(self) -> float:
        return max((width_of(name, _SMALL) for name in self.one.seen.names), default=0.15) + 0.2

    @property
    def _spectral(self) -> bool:
        values = self.one.seen.values
        return self.one.seen.rate is not None and values is not None and values.shape[-1] >= 256 and len(self.maps) == 1

    def _leads_height(self) -> float:
        assert self.one.seen.values is not None
        return float(np.clip(_LEAD * len(self.one.seen.values), _LEAST_LEADS, _MOST_LEADS))

    def _signal_height(self) -> float:
        strips = sum(self._name_height(panel) + _STRIP + _GAP for panel in self.one.panels)
        return self._leads_height() + _GAP + strips + (_SPECTROGRAM + _GAP if self._spectral else 0) + _AXIS

    def _draw_signal(self, page: Figure, top: float) -> None:
        seen, first = self.one.seen, self.one.panels[0]
        left = _MARGIN + max(self._labels, 0.5)
        width = _WIDTH - left - _MARGIN - _BAR_TEXT - _GAP

        def axes(height: float) -> Axes:
            return add_axes(page, left, top, width, height)

        below = "seconds" if seen.rate is not None else "sample"
        leads = axes(self._leads_height())
        single = len(self.maps) == 1
        draw_leads(leads, seen, self.maps[0] if single else None, first.scale, self.one.outline)
        style(leads)
        top += self._leads_height() + _GAP
        if self._spectral:
            spectral = axes(_SPECTROGRAM)
            draw_spectrogram(spectral, seen, self.maps[0], first.scale)
            style(spectral, beside="Hz")
            top += _SPECTROGRAM + _GAP
        for number, (panel, values) in enumerate(zip(self.one.panels, self.maps, strict=True), 1):
            top += self._named(page, panel, top)
            strip = axes(_STRIP)
            draw_strip(strip, seen, values, panel.scale)
            style(strip, below=below if number == len(self.maps) else "")
            self._bar(page, panel.scale, top, _STRIP)
            top += _STRIP + _GAP

    # Volumes

    def _slices(self) -> tuple[list[tuple[float, float]], float]:
        """Return width and height of the slices across D, H and W, in inches, and how long a voxel or millimetre is."""
        sides = [sides_of(self.one.seen, axis) for axis in range(3)]
        room = _WIDTH - 2 * _MARGIN - _BAR_TEXT - 3 * _GAP
        inch = min(room / sum(across for _, across in sides), _SLICE / max(down for down, _ in sides))
        return [(across * inch, down * inch) for down, across in sides], inch

    def _montage(self) -> tuple[float, float]:
        """Return width and height of a small slice across D."""
        down, across = sides_of(self.one.seen, 0)
        room = (_WIDTH - 2 * _MARGIN - _BAR_TEXT - _GAP * _MONTAGE) / _MONTAGE
        inch = min(room / across, _SMALL_SLICE / down)
        return across * inch, down * inch

    def _volume_height(self) -> float:
        slices, _ = self._slices()
        large, small = max(height for _, height in slices), self._montage()[1]
        one = large + small + 2 * (line_height(_SMALL) + 0.03) + 2 * _GAP
        return sum(self._name_height(panel) + one for panel in self.one.panels)

    def _draw_volume(self, page: Figure, top: float) -> None:
        grey, (slices, _) = grey_of(self.one.seen), self._slices()
        large, (width, small) = max(height for _, height in slices), self._montage()
        note = line_height(_SMALL) + 0.03
        for panel, values in zip(self.one.panels, self.maps, strict=True):
            top += self._named(page, panel, top)
            place, left = centre_of(values), _MARGIN
            for axis, (across, down) in enumerate(slices):
                axes = add_axes(page, left, top, across, down)
                draw_slice(axes, grey, values, panel.scale, axis, place)
                if axis == 0 and self.one.outline is not None:
                    _outlined(axes, np.take(self.one.outline, place[0], 0))
                write(page, [f"{NAMES[axis]} = {place[axis]}"], left, top + down + 0.01, _SMALL, colour=LABEL)
                left += across + _GAP
            self._bar(page, panel.scale, top, large, left)
            top += large + note + _GAP
            for number, chosen in enumerate(slices_of(values, _MONTAGE)):
                left = _MARGIN + number * (width + _GAP)
                draw_slice(
                    add_axes(page, left, top, width, small), grey, values, panel.scale, 0, (chosen, 0, 0), cross=False
                )
                write(page, [f"D = {chosen}"], left, top + small + 0.01, _SMALL, colour=LABEL)
            top += small + note + _GAP

    # Rows of tables

    def _row_height(self) -> float:
        rows = min(len(self.maps[0]), len(shown_of(self.one.seen, self.maps[0])[0]))
        one = rows * _FEATURE + _AXIS + _GAP
        return sum(self._name_height(panel) + one for panel in self.one.panels)

    def _draw_row(self, page: Figure, top: float) -> None:
        seen = self.one.seen
        names = seen.names or tuple(f"feature {number}" for number in range(len(self.maps[0])))
        left = _MARGIN + min(max(width_of(f"● {name} = 12,345.6", _SMALL) for name in names) + 0.1, 3.0)
        for panel, values in zip(self.one.panels, self.maps, strict=True):
            top += self._named(page, panel, top)
            chosen, rest = shown_of(seen, values)
            height = len(chosen) * _FEATURE
            axes = add_axes(page, left, top, _WIDTH - left - _MARGIN - _BAR_TEXT - _GAP, height)
            draw_features(axes, seen, values, panel.scale, self.one.outline)
            style(axes, below=" · ".join(filter(None, [panel.scale.unit, rest])))
            self._bar(page, panel.scale, top, height)
            top += height + _AXIS + _GAP


def _outlined(axes: Axes, outline: Floats) -> None:
    if outline.any():
        y, x = (np.arange(-0.5, side + 1) for side in outline.shape)
        axes.contour(x, y, np.pad(outline != 0, 1).astype(float), levels=[0.5], colors=["#ffffff"], linewidths=[0.8])
