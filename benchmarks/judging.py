"""Maps judged by noise that neither their fit nor their search has seen."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from bitlens.bottlenecks import bottleneck
from bitlens.bottlenecks.settling import Settled, settle
from bitlens.core.family import MaskFamily
from bitlens.core.holding import Holding
from bitlens.system.files import write_text

JUDGED, SEED = 64, 0x51ED270B


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


def together(judged: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return what was found of an input's maps as one: means over its layers."""
    return {
        name: sum(one[name] for one in judged) / len(judged) for name in judged[0] if all(name in j for j in judged)
    }


def write_rows(path: Path, table: dict[str, dict[str, dict[str, float]]]) -> None:
    """Write what was found of each input by each procedure, with six digits."""
    short = {
        procedure: {name: {key: float(f"{value:.6g}") for key, value in found.items()} for name, found in rows.items()}
        for procedure, rows in table.items()
    }
    write_text(path, json.dumps(short))
