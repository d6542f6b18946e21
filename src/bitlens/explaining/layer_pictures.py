"""The pictures of an analysis layer by layer: one text in one or two networks, one text over β, all texts in a plane."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from bitlens.bottlenecks.layer_analysis import LayerAnalysis
from bitlens.data.tokenizing import TokenBatch
from bitlens.view.arrays import Floats
from bitlens.view.charts import Chart, Curve
from bitlens.view.curves import draw_charts
from bitlens.view.layer_maps import LayerPanel, draw_layers

_ENOUGH = 5  # texts for a standard error


def joined_pieces(batch: TokenBatch, text: int) -> tuple[tuple[str, ...], Tensor]:
    """List the words and special tokens of one text in their order, and which of them each token belongs to (tokens,)."""
    spans = {word.tokens[0]: word.span for word in batch.words_of(text)}
    labels: list[str] = []
    owner: list[int] = []
    first: dict[int, int] = {}
    for position, (token, word) in enumerate(zip(batch.tokens[text], batch.words[text], strict=True)):
        if word is not None and word in first:
            owner.append(first[word])
            continue
        owner.append(len(labels))
        if word is not None:
            first[word] = len(labels)
        labels.append(batch.texts[text][slice(*spans[position])] if position in spans else token)
    return tuple(labels), torch.tensor(owner)


def draw_text_layers(
    analyses: Mapping[str, LayerAnalysis], batch: TokenBatch, text: int, *, beta: int = 0, classes: Sequence[str] = ()
) -> Figure:
    """Draw one text in each of several networks, layers × words.

    Args:
        analyses: by the network's name, of the same texts and targets.
        batch: the texts.
        text: which of them.
        beta: which of the analyses' weights of information.
        classes: names of the network's outputs, if known.
    """
    words, owner = joined_pieces(batch, text)
    panels = [_panel(name, analysis, beta, text, words, owner) for name, analysis in analyses.items()]
    one = next(iter(analyses.values()))
    return _drawn(panels, words, one, text, classes, f"β = {one.betas[beta]:g} · ")


def draw_beta_sweep(analysis: LayerAnalysis, batch: TokenBatch, text: int, *, classes: Sequence[str] = ()) -> Figure:
    """Draw one text in one network, layers × words for each β."""
    words, owner = joined_pieces(batch, text)
    panels = [
        _panel(f"β = {beta:g}", analysis, number, text, words, owner) for number, beta in enumerate(analysis.betas)
    ]
    return _drawn(panels, words, analysis, text, classes, "")


def draw_information_plane(analyses: Mapping[str, LayerAnalysis]) -> Figure:
    """Draw what of the prediction is kept over the bits that pass: a line for each layer, a point on it for each β.

    Args:
        analyses: one or two, by the network's name, with several weights of information.
    """
    charts = [
        Chart(
            title=name if len(analyses) > 1 else "",
            curves=[_curve(analysis, depth) for depth in range(len(analysis.layers))],
            x_label="bits that pass the layer, mean over texts",
            y_label=f"{analysis.measure} of the target under noise",
            logarithmic=True,
        )
        for name, analysis in analyses.items()
    ]
    one = next(iter(analyses.values()))
    count = len(one.before)
    betas = ", ".join(f"{beta:g}" for beta in one.betas)
    before = ", ".join(f"{float(analysis.before.mean()):.2f}" for analysis in analyses.values())
    bands = "; bands: standard errors over texts" if count >= _ENOUGH else ""
    caption = f"{count} text{'s' if count > 1 else ''} · β = {betas} from right to left · {one.measure} before: {before}{bands}"
    return draw_charts(charts, title="Information plane of the layers", caption=caption)


def _curve(analysis: LayerAnalysis, depth: int) -> Curve:
    bits, kept = analysis.total_bits[:, depth].double(), analysis.kept[:, depth].double()
    order = bits.mean(1).argsort()
    count = kept.shape[1]
    error = kept.std(1)[order].numpy() / count**0.5 if count >= _ENOUGH else np.zeros(0)
    return Curve(short_names(analysis.layers)[depth], bits.mean(1)[order].numpy(), kept.mean(1)[order].numpy(), error)


def _panel(
    title: str, analysis: LayerAnalysis, beta: int, text: int, words: Sequence[str], owner: Tensor
) -> LayerPanel:
    tokens = analysis.maps[beta, :, text, : len(owner)]
    bits: Floats = torch.zeros(len(tokens), len(words), dtype=torch.float32).index_add_(1, owner, tokens).numpy()
    kept = analysis.kept[beta, :, text]
    notes = [f"{float(row.sum()):,.0f} bits · {float(value):.2f}" for row, value in zip(bits, kept, strict=True)]
    return LayerPanel(title, bits, notes)


def _drawn(
    panels: Sequence[LayerPanel], words: Sequence[str], one: LayerAnalysis, text: int, classes: Sequence[str], said: str
) -> Figure:
    target = one.targets[text]
    named = classes[int(target)] if target.isdigit() and int(target) < len(classes) else target
    title = f"{named}: {one.measure} {float(one.before[text]):.2f}"
    caption = (
        f"{said}at the end of each row: bits that pass the layer, and the {one.measure} of the target that they keep"
    )
    return draw_layers(panels, words, short_names(one.layers), title=title, caption=caption)


def short_names(layers: Sequence[str]) -> list[str]:
    """Number the layers of an encoder (or the calls of its one block) from 1; dotted names stay where there is no number."""
    numbers = [layer.rpartition(".")[2].rpartition("#")[2] for layer in layers]
    if len(set(numbers)) < len(set(layers)):
        return list(layers)
    return [
        f"layer {int(number) + 1}" if number.isdigit() else layer for number, layer in zip(numbers, layers, strict=True)
    ]
