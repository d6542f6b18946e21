"""What a benchmark's table says, of which machine, and whether its ratios still lie where they did.

Seconds say little about another machine, ratios measured alternately in one process much. Those of machines with the same units
are kept in `ranges.json`: from the least to the greatest that runs there gave.
"""

import json
import platform
from collections.abc import Mapping
from pathlib import Path

import torch

STORED = Path(__file__).with_name("ranges.json")
TOLERATED = 0.9  # of the least of a range: what lies below has fallen

Ratios = Mapping[str, Mapping[str, float]]
"""By network and by what was timed: how many times cheaper than the released procedure."""
Range = list[float]


def units() -> str:
    """Name the units of this processor that decide how fast networks run: what one machine has and another has not."""
    has = torch.cpu
    known = (("_is_avx512_bf16_supported", "bfloat16"), ("_is_amx_tile_supported", "matrix units"))
    extra = [name for asked, name in known if getattr(has, asked, lambda: False)()]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *extra])


def machine() -> str:
    """Describe this machine in one line: what runs, on which units, in how many threads."""
    return f"{platform.machine()} with {units()}; PyTorch {torch.__version__}, {torch.get_num_threads()} threads"


def table(rows: Mapping[str, list[str]], titles: list[str]) -> str:
    """Return rows by name as lines of text, columns to the right, under their titles."""
    lines = [["", *titles], *([name, *cells] for name, cells in rows.items())]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def fallen(ratios: Ratios, stored: Mapping[str, Mapping[str, Range]]) -> list[str]:
    """Say of each ratio that lies more than a tenth below the least that is stored of it what it was and what it is.

    Raises:
        SystemExit: if nothing that was measured has a stored range, so that nothing can fall.
    """
    pairs = [
        (network, name, ratio, stored[network][name][0])
        for network, found in ratios.items()
        for name, ratio in found.items()
        if name in stored.get(network, {})
    ]
    if not pairs:
        raise SystemExit(
            f"no range is stored for a machine with {units()} and these networks: run benchmarks/speed.py with --store first"
        )
    return [
        f"{network}, {name}: {ratio:.1f}, stored from {least:.1f} on"
        for network, name, ratio, least in pairs
        if ratio < TOLERATED * least
    ]


def widened(ratios: Ratios, stored: Mapping[str, Mapping[str, Range]]) -> dict[str, dict[str, Range]]:
    """Return the stored ranges, as wide as they must be to hold these ratios, too."""
    wide = {network: dict(ranges) for network, ranges in stored.items()}
    for network, found in ratios.items():
        own = wide.setdefault(network, {})
        for name, ratio in found.items():
            known = [*own.get(name, []), round(ratio, 2)]
            own[name] = [min(known), max(known)]
    return wide


def load() -> dict[str, dict[str, Range]]:
    """Return the ranges that are stored for machines with these units, by network and by what was timed."""
    found: dict[str, dict[str, Range]] = _all().get(units(), {})
    return found


def store(ranges: Mapping[str, Mapping[str, Range]]) -> None:
    """Write the ranges of machines with these units; those of others stay."""
    STORED.write_text(json.dumps({**_all(), units(): ranges}, indent=1) + "\n")


def _all() -> dict[str, dict[str, dict[str, Range]]]:
    return json.loads(STORED.read_text()) if STORED.exists() else {}
