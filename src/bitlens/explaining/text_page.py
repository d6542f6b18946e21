"""Explained texts as a page of HTML: one below the other, several methods side by side, on scales that can be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bitlens.explaining.explanation import Explanation
from bitlens.view.shaded import Abreast, ShadedText, html_page, word_scale


def page(explanations: Sequence[Explanation], title: str, *, same_scale: bool | None = None) -> str:
    """Return several texts as one page of HTML that carries all it needs.

    Args:
        explanations: of one method.
        title: of the page.
        same_scale: whether all texts share a scale, or each ends at its strongest word; None to share it where words have bits.
    """
    return compared_page({"": explanations}, title, same_scale=same_scale)


def compared_page(found: Mapping[str, Sequence[Explanation]], title: str, *, same_scale: bool | None = None) -> str:
    """Return texts as one page of HTML, what each method says of a text side by side.

    Args:
        found: by what a method is called, of each text what it says; the texts are the same.
        title: of the page.
        same_scale: whether all texts share scales, those in scores by method; None for what is counted in bits only.
    """
    shaded = shaded_alike(found, same_scale)
    if len(found) == 1:
        (passages,) = shaded.values()
        return html_page([Abreast("", one) for one in passages], title)
    groups = []
    for one, *passages in zip(next(iter(found.values())), *shaded.values(), strict=True):
        beside = [shown for label, own in zip(shaded, passages, strict=True) for shown in _called(label, own)]
        groups.append(Abreast(one.title, beside))
    return html_page(groups, title)


def shaded_alike(
    found: Mapping[str, Sequence[Explanation]], same_scale: bool | None = None
) -> dict[str, list[list[ShadedText]]]:
    """Shade texts so that they can be compared; see `compared_page`. Gives what is shown of each text, by method."""
    every = [(label, one) for label, texts in found.items() for one in texts]
    scales = {}
    for key in {_key(label, one) for label, one in every if _shares(one, same_scale)}:
        alike = [one for label, one in every if _key(label, one) == key]
        used = [one for one in alike if not one.idle] or alike
        scales[key] = word_scale(
            [one.shaded().pieces for one in used], used[0].unit, signed=any(one.signed for one in used)
        )
    return {label: [one.passages(scales.get(_key(label, one))) for one in texts] for label, texts in found.items()}


def _shares(one: Explanation, same_scale: bool | None) -> bool:
    return one.unit != "score" if same_scale is None else same_scale


def _key(label: str, one: Explanation) -> str:
    """Name what shares a scale: what has a unit, or else what one method made."""
    return label if one.unit == "score" else one.unit


def _called(label: str, passages: Sequence[ShadedText]) -> list[ShadedText]:
    """Title what is shown of a text by the method, as the text has a title of its own."""
    return [replace(passages[0], title=label), *(replace(one, title=f"{label}: {one.title}") for one in passages[1:])]
