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
SCORES = ("box", "auc", "degradation", "removal")


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


def show(table: dict[str, dict[str, Any]], prices: Sequence[str] = (), reference: str = "") -> None:
    """Print a line for each procedure, paired to the first or to a named one."""
    names = sorted(set.intersection(*(set(rows) for rows in table.values())))
    first = reference or next(iter(table))
    for procedure, rows in table.items():
        if procedure not in prices:
            print(_line(procedure, [rows[name] for name in names], [table[first][name] for name in names]))
    sweep = [name for name in table if name in prices]
    for procedure in [name for name in table if name not in prices and sweep]:
        ratios = torch.tensor([_against(table, procedure, name, sweep) for name in names])
        ratios = ratios[ratios.isfinite()]
        print(f"{procedure:16s} bits against the fewest of {len(sweep)} prices that keep as much: {mean(ratios.tolist())}, "
              f"median {ratios.median():.3f} ({len(ratios)} inputs)")  # fmt: skip


def _line(procedure: str, rows: Sequence[dict[str, Any]], first: Sequence[dict[str, Any]]) -> str:
    needed = [one for one in rows if needs(one)]
    kept, capped, other = (torch.tensor([one[key] for one in needed]) for key in ("kept", "capped", "other kept"))
    held = [float((kept >= share).float().mean()) for share in (0.9, 0.85)]
    silent = sum(one["kept"] < 0.7 and not one.get("said", 0.0) < 0.9 for one in needed)
    text = (
        f"{procedure:16s} {len(rows)} inputs ({len(needed)} need something)  rows {mean([one['rows'] for one in rows])}  "
        f"bits {sum(one['bits'] for one in rows) / len(rows):8,.1f}  "
        f"kept >= .9 {held[0]:.3f}, >= .85 {held[1]:.3f}, least {kept.min():.2f}, capped {capped.mean():.3f}, "
        f"below .7 unsaid {silent}, other noise {other.clamp(-1, 1).mean():.3f} "
    )
    layers = torch.tensor([one["least"] for one in needed if "least" in one])
    if len(layers):
        text += f" of the worst layer >= .85 {float((layers >= 0.85).float().mean()):.3f}, least {layers.min():.2f} "
    for key in SCORES:
        if all(key in one for one in (*rows, *first)):
            text += f" {key} {mean([one[key] - other[key] for one, other in zip(rows, first, strict=True)], '+')}"
    return text


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


def mean(values: Sequence[float], sign: str = "") -> str:
    """Return mean ± standard error."""
    numbers = torch.tensor(values).float()
    return f"{numbers.mean():{sign}.3f} ± {numbers.std() / len(numbers) ** 0.5:.3f}"
