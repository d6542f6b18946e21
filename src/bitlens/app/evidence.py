"""What is said of an answer: how sure the network is, what the numbers of each map mean, what was left out."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from bitlens.app.answers import Shown
from bitlens.explaining.left_out import left_out
from bitlens.explaining.photos import Found
from bitlens.view.card import Card, Proof
from bitlens.view.page_answer import PageAnswer

_SCORES = (
    "These methods give scores without a unit: compare places within one map, not numbers between maps. "
    "The bottlenecks (iba) give bits."
)


def answer_of(shown: Shown, card: Card) -> PageAnswer:
    """Say what was found on a photo.

    Args:
        shown: what was found.
        card: the photo with its maps, drawn.
    """
    photo = shown.explained
    what = "photo" if isinstance(photo.shown, Tensor) else "input"
    sure = "probability" if photo.measure == "probability" else "the network's answer"
    bottlenecks = [one for one in photo.found if one.attribution.total_bits is not None]
    proofs = [proof for one in bottlenecks if (proof := Proof.of(one.attribution)) is not None]
    meanings = [proof.meaning for proof in proofs] if bottlenecks else [_SCORES]
    numbers = [(f"{photo.probability:.3f}", f"{sure}, for the whole {what}")]
    for one in bottlenecks:
        numbers += _numbers(one, f" ({one.ready.label})" if len(bottlenecks) > 1 else "")
    return PageAnswer(
        card.answer,
        card,
        said=shown.said,
        numbers=numbers,
        meanings=list(dict.fromkeys(meanings)),
        warnings=[*dict.fromkeys(f"{proof.caveat}." for proof in proofs if proof.caveat), *warnings_of(shown.refused)],
    )


def warnings_of(refused: Mapping[str, str]) -> list[str]:
    """Say of each method that cannot be used why not."""
    return [f"L{text[1:]}" for text in left_out(refused)]


def _numbers(one: Found, whose: str) -> Iterator[tuple[str, str]]:
    total = one.attribution.total_bits
    if total is not None:
        yield f"{float(total[0]):,.0f} bits", f"passed the layer at most, in total{whose}"
        if one.attribution.total_against is not None:
            against = float(one.attribution.total_against[0])
            yield f"{against:,.0f} bits", f"speak against it: what the opposite would need{whose}"
    if (proof := Proof.of(one.attribution)) is not None:
        what = "probability" if proof.measure == "probability" else "value"
        yield f"{proof.under:.3f} ± {proof.spread:.3f}", f"{what} when noise hides all else{whose}"
        if proof.floor is not None:
            yield f"{proof.floor:.3f}", f"{what} with nothing but noise{whose}"
        if proof.kept is not None:
            yield f"{proof.kept:.2f}{proof.give_or_take}", f"of the decision is held, between the two{whose}"
