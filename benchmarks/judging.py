"""Maps judged by noise that neither their fit nor their search has seen, and what was found in print."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from bitlens.bottlenecks import bottleneck
from bitlens.bottlenecks.settling import Settled, settle
from bitlens.core.family import MaskFamily
from bitlens.core.holding import Holding

JUDGED, SEED = 64, 0x51ED270B
SPAN = 0.02  # of a probability above the floor: with less there is nothing to keep
SCORES = ("box", "auc", "degradation")
LABELS = {"auc": "rank AUC"}


@contextmanager
def judging(found: list[dict[str, float]], rows: list[int], other: Any, floors: int = JUDGED) -> Iterator[None]:
    """Within the block every map that is settled is judged under fresh noise, and a quarter of it of other statistics.

    Args:
        found: takes what was found of each map: of one for an input, or of one for each layer.
        rows: of the network so far; those of the judging are not counted.
        other: what was recorded → noise that the map was not fitted with.
        floors: how many noises tell the value without seeing anything.
    """

    def settled(recorded: Any, fitted: Any, fit: Any, keep: float | None, bits: float | None) -> Settled:
        made = settle(recorded, fitted, fit, keep, bits)
        before = rows[0]
        clean = recorded.target.value(recorded.output).detach()
        one = {"before": float(clean)}
        with torch.no_grad():
            for name, noise in (("", recorded.noise), ("other ", other(recorded))):
                masks = MaskFamily.of(recorded.features, noise, recorded.layout, recorded.region, fit.smoothing)
                held = Holding(recorded.run, recorded.target, masks, recorded.group.rows, recorded.deeper)
                share = 4 if name else 1
                nothing = held.floor(max(4, floors // share), SEED + 1)
                floor = nothing.mean(0)
                values = held.values(made.fitted.u, JUDGED // share, SEED)
                one[f"{name}floor"] = float(floor)
                one[f"{name}floor error"] = float(nothing.std(0)) / len(nothing) ** 0.5
                one[f"{name}kept"] = float((values.mean(0) - floor) / (clean - floor))
                one[f"{name}capped"] = float((values.minimum(clean).mean(0) - floor) / (clean - floor))
        said = made.evidence
        if said is not None and said.floor is not None:
            one["said"] = float(said.kept)
        found.append(one)
        rows[0] = before
        return made

    bottleneck.settle = settled  # type: ignore[attr-defined]
    try:
        yield
    finally:
        bottleneck.settle = settle  # type: ignore[attr-defined]


def needs(one: dict[str, float]) -> bool:
    """Say whether the network needs to see anything of an input: else there is nothing to keep."""
    return one["before"] - one["floor"] > max(SPAN, 2 * one.get("floor error", 0.0))


def together(judged: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return what was found of an input's maps as one: means over its layers, and of what is kept the least as well."""
    means = {
        name: sum(one[name] for one in judged) / len(judged) for name in judged[0] if all(name in j for j in judged)
    }
    needed = [one["kept"] for one in judged if needs(one)]
    return means | ({"least": min(needed)} if len(judged) > 1 and needed else {})


def head(scores: Sequence[str] = SCORES) -> None:
    """Print the head of the tables."""
    columns = ["network", "procedure", "rows", "bits", "nothing needed", "≥ 0.9 kept", "≥ 0.85", "least", "mean to 1"]
    columns += ["by the other noise", *(LABELS.get(score, score) for score in scores)]
    print(f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", sep="\n")


def show(
    name: str,
    table: dict[str, dict[str, Any]],
    *,
    scores: Sequence[str] = SCORES,
    prices: Sequence[str] = (),
    reference: str = "",
) -> None:
    """Print the table of a network: a line for each procedure, quality paired to the first or to a named one."""
    inputs = sorted(set.intersection(*(set(rows) for rows in table.values())))
    first = next(iter(table))
    for procedure, rows in table.items():
        if procedure not in prices:
            paired = [table[reference or first][one] for one in inputs]
            cells = _cells([rows[one] for one in inputs], paired, scores)
            label = f"{name} ({len(inputs)})" if procedure == first else ""
            print(f"| {' | '.join([label, procedure, *cells])} |")
    sweep = [name for name in table if name in prices]
    for procedure in [one for one in table if one not in prices and sweep]:
        ratios = torch.tensor([_against(table, procedure, one, sweep) for one in inputs])
        ratios = ratios[ratios.isfinite()]
        print(
            f"{name}, {procedure}: {mean(ratios.tolist())} times the fewest bits of {len(sweep)} prices that keep as much, "
            f"median {ratios.median():.3f} ({len(ratios)} inputs)"
        )


def _cells(found: Sequence[dict[str, Any]], paired: Sequence[dict[str, Any]], scores: Sequence[str]) -> list[str]:
    held = [one for one in found if one["bits"] > 1e-3 and needs(one)]
    kept, capped, other = (torch.tensor([one[key] for one in held]) for key in ("kept", "capped", "other kept"))
    cells = [
        mean([one["rows"] - 1 for one in found], digits=1),  # one of them is the clean pass
        f"{sum(one['bits'] for one in found) / len(found):,.0f}",
        str(len(found) - len(held)),
        *(f"{float((kept >= share).float().mean()):.3f}" for share in (0.9, 0.85)),
        f"{kept.min():.2f}",
        f"{capped.mean():.3f}",
        f"{other.clamp(0, 1).mean():.2f}",
    ]
    for key in scores:
        known = all(key in one for one in found)
        pairs = zip(found, paired, strict=True)
        cells.append(mean([one[key] - other[key] for one, other in pairs], "+") if known else "")
    return cells


def _against(table: dict[str, dict[str, Any]], name: str, photo: str, sweep: Sequence[str]) -> float:
    """Bits of a map over the fewest with which some price keeps as much, between two prices on a logarithmic scale."""
    one = table[name][photo]
    if not needs(one):
        return math.nan
    points = sorted((table[price][photo]["bits"], table[price][photo]["capped"]) for price in sweep)
    for (bits, kept), (more, better) in zip([(points[0][0], -math.inf), *points], points, strict=False):
        if better >= one["capped"]:
            share = (one["capped"] - kept) / (better - kept) if math.isfinite(kept) and better > kept else 1.0
            return float(one["bits"] / math.exp(math.log(bits) + share * (math.log(more) - math.log(bits))))
    return math.nan


def mean(values: Sequence[float], sign: str = "", digits: int = 3) -> str:
    """Return mean ± standard error."""
    numbers = torch.tensor(values).float()
    return f"{numbers.mean():{sign}.{digits}f} ± {numbers.std() / len(numbers) ** 0.5:.{digits}f}"
