"""An attribution as a figure: each input beside its map, on one scale, with unit, colour bar and what was measured."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from bitlens.core.attribution import Attribution
from bitlens.core.seen import Seen
from bitlens.data.images import read_image
from bitlens.errors import InputError
from bitlens.view.answer import named
from bitlens.view.arrays import Floats
from bitlens.view.card import Proof, agreement, bits_passed, caption, deviation
from bitlens.view.colours import Scale
from bitlens.view.comparison import Panel, draw_comparison
from bitlens.view.heatmap import draw_explanation
from bitlens.view.readings import Reading, draw_readings
from bitlens.view.scales import dark_end
from bitlens.view.shaded import ShadedText, pieces_of, word_scale
from bitlens.view.sheet import draw_scaled_grid
from bitlens.view.text_figure import draw_texts

_PERCENTILE = 99.5  # gradients have a few pixels that are far above all others
_FLATTEST = 12  # how many times wider than high a row of tokens or numbers is drawn at most


def draw_attribution(found: Attribution, images: Any = None, *, spread: bool = False) -> Figure:
    """Draw each input beside its map; texts with their tokens shaded. See `Attribution.show`.

    Raises:
        InputError: if there are not as many images as maps, there is no map, an image has another aspect than its map, or the
            spread is wanted and was not measured.
    """
    if spread and found.spread is None:
        raise InputError("the spread was not measured: explain(..., spread=4) fits maps with four seeds")
    if not len(found):
        raise InputError("there is no map to draw: the attribution is empty")
    seen = _given(images, found) if images is not None else found.seen or (Seen(),) * len(found)
    if all(one.text for one in seen):
        texts = [shaded_text(found, i) for i in range(len(found))]
        return draw_texts(
            texts if not spread else [both for i, one in enumerate(texts) for both in (one, _spread_text(found, i))]
        )
    if all(
        one.values is not None and tuple(values.shape) == one.places
        for one, values in zip(seen, found.map, strict=True)
    ):
        return draw_readings([_reading(found, i, one, spread=spread) for i, one in enumerate(seen)])
    maps = [map_over(values, one) for values, one in zip(found.map, seen, strict=True)]
    photos = [photo_of(one, values) for one, values in zip(seen, maps, strict=True)]
    titles = [named(one.target or text) for one, text in zip(seen, found.targets, strict=True)]
    if spread:
        return _with_spread(found, photos, maps, titles)
    ends: dict[str, Any] = {"percentile": _PERCENTILE if found.unit == "score" else None, "signed": found.signed}
    notes = [*dict.fromkeys(one.note for one in seen), _summed(found)]
    if len(found) == 1:
        legend = _joined(caption(found), agreement(found, 0), *notes)
        top = _dark_end(found, maps)
        return draw_explanation(photos[0], maps[0], unit=found.unit, title=titles[0], caption=legend, vmax=top, **ends)
    scale = Scale.over(maps, found.unit, _dark_end(found, maps), **ends)
    return draw_scaled_grid(
        photos,
        [[one] for one in maps],
        [[scale]] * len(maps),
        row_titles=titles,
        column_titles=[found.method],
        column_details=[_joined(f"at {found.layer}" if found.layer else "", *notes)],
        captions=[[_in_short(found, i)] for i in range(len(found))],
        shared=True,
    )


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _dark_end(found: Attribution, maps: list[Floats]) -> float | None:
    """Return where the colours of bits must end so that maps of nothing that was needed are dark; None of all others."""
    if found.signed or not found.unit.startswith("bits"):
        return None
    proofs = [Proof.of(found, number) for number in range(len(found))]
    return dark_end(maps, [proof is not None and proof.idle for proof in proofs])


def _reading(found: Attribution, number: int, seen: Seen, *, spread: bool) -> Reading:
    """Put a signal, a volume or a row beside its map, and beside how far that of other seeds differs."""
    one = found[number]
    percentile = _PERCENTILE if one.unit == "score" else None
    scale = Scale.over([one.map.numpy()], one.unit, percentile=percentile, signed=one.signed)
    panels = [Panel(one.map[0], scale, one.method if spread else "", one.layer)]
    if spread and one.spread is not None:
        std = one.spread.std[0].numpy()
        panels.append(Panel(std, Scale.over([std], one.unit), deviation(one)))
    legend = _joined(caption(one) or one.method, agreement(one, 0))
    return Reading(seen, panels, named(seen.target or one.targets[0]), legend)


def _with_spread(found: Attribution, photos: list[Floats], maps: list[Floats], titles: list[str]) -> Figure:
    """Draw the standard deviation over seeds beside each map, each on a scale of its own."""
    assert found.spread is not None
    over = found.spread
    stds = [map_over(values, Seen(picture=None)) for values in over.std]
    rows = [[one, std] for one, std in zip(maps, stds, strict=True)]
    scales = [[Scale.over([one], found.unit, signed=found.signed), Scale.over([std], found.unit)] for one, std in rows]
    spread_title = deviation(found)
    if len(found) == 1:
        panels = [Panel(maps[0], scales[0][0], found.method, found.layer), Panel(stds[0], scales[0][1], spread_title)]
        legend = "\n".join(part for part in (caption(found), agreement(found, 0)) if part)
        return draw_comparison(photos[0], panels, title=titles[0], caption=legend)
    shares = [f"{share:.0%} of the top {over.top:.0%} agreed on" for share in over.agreed.tolist()]
    return draw_scaled_grid(
        photos,
        rows,
        scales,
        row_titles=titles,
        column_titles=[found.method, spread_title],
        column_details=[found.layer, ""],
        captions=[[_in_short(found, i), shares[i]] for i in range(len(found))],
    )


def _spread_text(found: Attribution, number: int) -> ShadedText:
    """Shade the tokens of a text by how far their values differ between seeds."""
    assert found.spread is not None
    shown = shaded_text(replace(found, map=found.spread.std, against=None, total_bits=None, evidence=None), number)
    return replace(shown, title=deviation(found), notes=[agreement(found, number)])


def shaded_text(found: Attribution, number: int) -> ShadedText:
    """Shade the tokens of a text that is kept beside its map; special tokens are told below."""
    assert found.seen is not None
    seen = found.seen[number]
    values = found.map[number].tolist()
    shown = [(span, value) for span, value in zip(seen.spans, values, strict=False) if span is not None]
    special = sum(value for span, value in zip(seen.spans, values, strict=False) if span is None)
    pieces = pieces_of(seen.text, [span for span, _ in shown], [value for _, value in shown])
    unit = found.unit.partition("/")[0]
    apart = f"{special:,.3g} {unit} on special tokens" if special and unit != "mask" else ""
    notes = [part for part in (caption(found[number]), apart) if part]
    title = named(seen.target or found.targets[number])
    return ShadedText(
        pieces, word_scale([pieces], unit, signed=found.signed or bool(found.map.min() < 0)), title, notes, "token"
    )


def facts(found: Attribution, number: int) -> str:
    """Say in a few words what was measured of a map."""
    parts = []
    if found.total_bits is not None:
        parts.append(bits_passed(found, number))
    if (proof := Proof.of(found, number)) is not None:
        parts.append(f"{proof.measure} {proof.before:.2f}, under noise {proof.under:.2f} ± {proof.spread:.2f}")
        parts += [proof.held] if proof.held else []
    return " · ".join(parts)


def _in_short(found: Attribution, number: int) -> str:
    """Say what fits below a small picture."""
    parts = [bits_passed(found, number)] if found.total_bits is not None else []
    if (proof := Proof.of(found, number)) is not None:
        under = f"{proof.measure} {proof.before:.2f} → {proof.under:.2f}"
        parts.append("nothing needed" if proof.idle else under if proof.kept is None else f"{proof.kept:.2f} held")
    return " · ".join(parts)


def map_over(values: Tensor, seen: Seen) -> Floats:
    """Lay a map out in rows and columns: volumes summed over depth, tokens and numbers as a row that can be seen."""
    while values.dim() > 2:
        values = values.sum(0)
    if values.dim() == 1:
        rows = 1 if seen.picture is not None else max(1, -(-len(values) // _FLATTEST))
        values = values.expand(rows, -1)
    return values.float().numpy()


def photo_of(seen: Seen, values: Floats) -> Floats:
    """Return what is shown beside a map (3, H, W) in [0, 1]: grey where the input is not known."""
    if seen.picture is None:
        return np.full((3, *values.shape), 0.5, dtype=np.float32)
    pixels: Floats = seen.picture.numpy().astype(np.float32) / np.float32(255)
    return pixels


def _summed(found: Attribution) -> str:
    return "summed over depth" if found.map.dim() > 3 else ""


def _given(images: Any, found: Attribution) -> tuple[Seen, ...]:
    """Read what somebody hands over as the inputs of the maps."""
    several: Sequence[Any]
    if isinstance(images, str | Path | Image.Image):
        several = [images]
    elif isinstance(images, Tensor | np.ndarray):
        tensor = torch.as_tensor(images)
        several = list(tensor[None] if tensor.dim() == 3 else tensor)
    else:
        several = list(images)
    if len(several) != len(found):
        raise InputError(f"there are {len(several)} images for {len(found)} maps: give one for each")
    known = found.seen or (Seen(),) * len(found)
    return tuple(_read(one, before.target) for one, before in zip(several, known, strict=True))


def _read(image: Any, target: str) -> Seen:
    if isinstance(image, str | Path):
        image = read_image(Path(image))
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    return Seen.of_input(torch.tensor(image) if isinstance(image, np.ndarray) else torch.as_tensor(image), target)
