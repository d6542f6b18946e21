"""What an answer's numbers say, as a small piece of HTML."""

from html import escape

from bitlens.app.answers import Shown
from bitlens.explaining.photos import Found

STYLE = """
.bitlens-cards {display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .6rem; margin: .2rem 0 .6rem}
.bitlens-card {border: 1px solid var(--border-color-primary); border-radius: .6rem; padding: .55rem .8rem;
  background: var(--background-fill-secondary)}
.bitlens-card b {display: block; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums}
.bitlens-card span {font-size: .85rem; color: var(--body-text-color-subdued)}
.bitlens-say {margin: .1rem 0 .5rem; max-width: 46rem; line-height: 1.45}
.bitlens-warn {border-left: 4px solid #d65f0c; padding: .35rem .7rem; margin: .3rem 0;
  background: var(--background-fill-secondary)}
footer {display: none !important}
#beta input[type=number], #layer input[type=number], #text-beta input[type=number],
#beta .reset-button, #layer .reset-button, #text-beta .reset-button, #text-beta .min_value, #text-beta .max_value,
#beta .min_value, #beta .max_value, #layer .min_value, #layer .max_value {display: none !important}
.bitlens-head h1 {margin: 0; font-size: 1.5rem}
.bitlens-head p {margin: .15rem 0 0; color: var(--body-text-color-subdued)}
"""
_COLLAPSED = 0.5  # of the probability before: below it, the map does not hold what the network needs


def evidence_html(shown: Shown) -> str:
    """The numbers of an answer, with a sentence on each that says what it means."""
    photo = shown.explained
    said_of = f"probability of “{photo.name}”" if photo.measure == "probability" else "the network's answer"
    cards = [_card(f"{photo.probability:.3f}", f"{said_of} for the whole photo")]
    said: list[str] = []
    if photo.name != shown.predicted:
        said.append(f"The network's own answer is “{escape(shown.predicted)}”; you asked about “{escape(photo.name)}”.")
    bottlenecks = [one for one in photo.found if one.attribution.total_bits is not None]
    for one in bottlenecks:
        cards += _of_bottleneck(one, several=len(bottlenecks) > 1)
        said += _sentences(one, photo.probability)
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
    """A remark in place of an answer."""
    return f'<p class="bitlens-say">{escape(text)}</p>'


def _of_bottleneck(one: Found, *, several: bool) -> list[str]:
    whose = f" ({one.ready.label})" if several else ""
    total = one.attribution.total_bits
    cards = (
        [_card(f"{float(total[0]):,.0f} bits", f"passed the layer at most, in total{whose}")]
        if total is not None
        else []
    )
    proof = one.attribution.evidence
    if proof is not None:
        mean, spread = float(proof.under_noise[0]), float(proof.under_noise_std[0])
        cards.append(
            _card(f"{mean:.3f} ± {spread:.3f}", f"{_quantity(proof.measure)} when noise hides all else{whose}")
        )
    return cards


def _sentences(one: Found, before: float) -> list[str]:
    proof = one.attribution.evidence
    if proof is None:
        return []
    after = float(proof.under_noise[0])
    if proof.measure == "probability" and after < _COLLAPSED * before:
        return [
            "<b>The map does not hold what the network needs:</b> with the rest under noise the probability falls "
            f"from {before:.2f} to {after:.2f}. Lower the price of a bit (β)."
        ]
    return [
        f"Noise hid everything but these bits, and the network still came to this {_quantity(proof.measure)}: where the map is "
        "dark, less than the smallest colour of information was needed. A bit here is an upper bound on what the layer lets "
        "through at that place, not a share of the decision."
    ]


def _quantity(measure: str) -> str:
    return "probability" if measure == "probability" else "value"


def _card(number: str, meaning: str) -> str:
    return f'<div class="bitlens-card"><b>{escape(number)}</b><span>{escape(meaning)}</span></div>'
