"""The page of an analysis layer by layer: each text with its words shaded, a row for each layer."""

from collections.abc import Iterator, Mapping, Sequence

from bitlens.bottlenecks.layer_analysis import LayerAnalysis
from bitlens.data.tokenizing import TokenBatch
from bitlens.explaining.layer_pictures import short_names
from bitlens.models.classes import class_name
from bitlens.view.layer_maps import FAINT
from bitlens.view.layered_text import LayeredText, LayerRow, LayerTable, layers_html
from bitlens.view.shaded import ShadedText, pieces_of, word_scale


def layers_page(
    analyses: Mapping[str, LayerAnalysis], batch: TokenBatch, names: Sequence[str], classes: Sequence[str] = ()
) -> str:
    """Write a page of HTML that carries all it needs: of each text and network the words shaded layer by layer, for each β.

    Args:
        analyses: by the network's name, of the same texts and targets.
        batch: the texts.
        names: of the texts.
        classes: names of the network's outputs, if known.
    """
    one = next(iter(analyses.values()))
    texts = [
        LayeredText(
            f"{name}: {class_name(one.targets[text], classes)}, {one.measure} {float(one.before[text]):.2f}",
            [table for title, analysis in analyses.items() for table in _tables(title, analysis, batch, text)],
        )
        for text, name in enumerate(names)
    ]
    return layers_html(texts, f"Layer by layer: {' and '.join(analyses)}", one.measure)


def _tables(title: str, analysis: LayerAnalysis, batch: TokenBatch, text: int) -> Iterator[LayerTable]:
    """Make a table for each β; the middle one is shown at first."""
    words = batch.words_of(text)
    for number, beta in enumerate(analysis.betas):
        rows = []
        for depth, layer in enumerate(short_names(analysis.layers)):
            tokens = analysis.maps[number, depth, text]
            total = float(tokens.sum())
            values = [float(tokens[list(word.tokens)].sum()) for word in words]
            pieces = pieces_of(batch.texts[text], [word.span for word in words], values)
            scale = word_scale([pieces], "bits", vmax=max(total, FAINT))
            rest = total - sum(values)
            rows.append(
                LayerRow(layer, ShadedText(pieces, scale), total, rest, float(analysis.kept[number, depth, text]))
            )
        yield LayerTable(f"{title} · β = {beta:g}", rows, shown=number == len(analysis.betas) // 2)
