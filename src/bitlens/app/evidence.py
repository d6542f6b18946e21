"""What an answer's numbers say, as a small piece of HTML."""

from html import escape
from pathlib import Path

from bitlens.app.answers import Shown
from bitlens.explaining.photos import Found
from bitlens.view.card import Proof
from bitlens.view.tradeoff import trade_off
from bitlens.view.tradeoff_page import trade_off_html

STYLE = Path(__file__).with_name("page.css").read_text("utf-8")


def evidence_html(shown: Shown) -> str:
    """Show the numbers of an answer, with a sentence on each that says what it means."""
    photo = shown.explained
    said_of = f"probability of “{photo.name}”" if photo.measure == "probability" else "the network's answer"
    cards = [_card(f"{photo.probability:.3f}", f"{said_of} for the whole photo")]
    said: list[str] = []
    if photo.name != shown.predicted:
        said.append(f"The network's own answer is “{escape(shown.predicted)}”; you asked about “{escape(photo.name)}”.")
    bottlenecks = [one for one in photo.found if one.attribution.total_bits is not None]
    for one in bottlenecks:
        cards += _of_bottleneck(one, several=len(bottlenecks) > 1)
        said += _sentences(one, photo.name)
        if one.attribution.evidence is not None and one.attribution.evidence.caveat:
            said.append(f"<b>{escape(one.attribution.evidence.caveat)}</b>.")
    if not bottlenecks:
        said.append(
            "These methods give scores without a unit: compare places within one map, not numbers between maps. "
            "The bottlenecks (iba) give bits."
        )
    warned = [f"{name}: {reason}" if not reason.startswith(name) else reason for name, reason in shown.refused.items()]
    return (
        f'<div class="bitlens-cards">{"".join(cards)}</div>'
        + "".join(f'<p class="bitlens-say">{text}</p>' for text in dict.fromkeys(said))
        + "".join(f'<p class="bitlens-warn">Left out: {escape(text)}</p>' for text in warned)
    )


def message_html(text: str) -> str:
    """Show a remark in place of an answer."""
    return f'<p class="bitlens-say">{escape(text)}</p>'


def _of_bottleneck(one: Found, *, several: bool) -> list[str]:
    whose = f" ({one.ready.label})" if several else ""
    total = one.attribution.total_bits
    cards = (
        [_card(f"{float(total[0]):,.0f} bits", f"passed the layer at most, in total{whose}")]
        if total is not None
        else []
    )
    if (proof := Proof.of(one.attribution)) is not None:
        said = f"{_quantity(proof.measure)} when noise hides all else{whose}"
        cards.append(_card(f"{proof.under:.3f} ± {proof.spread:.3f}", said))
        if proof.floor is not None:
            cards.append(_card(f"{proof.floor:.3f}", f"{_quantity(proof.measure)} with nothing but noise{whose}"))
        if proof.kept is not None:
            cards.append(_card(f"{100 * proof.kept:.0f} %", f"of the decision is held, between the two{whose}"))
    return cards


def _sentences(one: Found, name: str) -> list[str]:
    proof = Proof.of(one.attribution)
    if proof is None:
        return []
    if proof.idle and proof.own:
        return [
            f"With noise that has this photo's own averages this network still says “{escape(name)}” ({proof.floor:.2f}, on the "
            f"photo {proof.before:.2f}): what decides is in it everywhere, as a texture is, or was not needed. Statistics of "
            "other photos tell which."
        ]
    if proof.idle:
        return [
            f"This network says “{escape(name)}” without seeing anything: with nothing but noise its answer is about the same "
            f"({proof.floor:.2f}, on the photo {proof.before:.2f}). Nothing in the photo was needed for it."
        ]
    if proof.collapsed:
        return [
            "<b>The map does not hold what the network needs:</b> with the rest under noise the probability falls "
            f"from {proof.before:.2f} to {proof.under:.2f}. Hold a larger share of the decision, or lower the price of a bit (β)."
        ]
    return [
        f"Noise hid everything but these bits, and the network still came to this {_quantity(proof.measure)}: where the map is "
        "dark, less than the smallest colour of information was needed. A bit here is an upper bound on what the layer lets "
        "through at that place, not a share of the decision."
    ]


def curve_html(shown: Shown) -> str:
    """Show the curves of an answer, each with a slider through its maps; nothing where there are none."""
    several = sum(one.attribution.curve is not None for one in shown.explained.found) > 1
    pieces = []
    for number, one in enumerate(shown.explained.found):
        curve = trade_off(one.attribution, title=one.ready.label if several else "")
        if curve is not None:
            pieces.append(trade_off_html(curve, shown.explained.pixels, f"curve-{number}", alone=True))
    return "".join(pieces)


def _quantity(measure: str) -> str:
    return "probability" if measure == "probability" else "value"


def _card(number: str, meaning: str) -> str:
    return f'<div class="bitlens-card"><b>{escape(number)}</b><span>{escape(meaning)}</span></div>'
