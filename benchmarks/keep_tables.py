"""How few bits of a table's rows hold what is asked for, and of which features: python benchmarks/keep_tables.py.

The default, keep=0.9, of `iba` where readings are scaled and of `input-iba` at the readings themselves, on 200 test rows of
`builtin:table`, of which two features decide. Each map is judged by 64 noises; `iba` knows 1,000 training rows.
"""

import torch
from torch import Tensor

import bitlens
from bitlens.core.attribution import Attribution
from bitlens.data.datasets import open_dataset
from bitlens.data.planted_table import MEAN, STD

ROWS = 200


def line(name: str, found: Attribution, planted: Tensor) -> str:
    """Write a row of a table: the kept share, bits, bits of features that do not decide, and rows whose two highest do."""
    assert found.evidence is not None
    kept, bits = found.evidence.kept, found.map.sum(1)
    elsewhere = (found.map * ~planted).sum(1)
    numbers = f"{kept.mean():.3f} | {kept.min():.2f} | {bits.mean():.2f} | {bits.max():.1f} | {elsewhere.mean():.3f}"
    return f"| `{name}` | {numbers} | {(found.map.topk(2).indices.sort(1).values == two_of(planted)).all(1).sum()} |"


def two_of(planted: Tensor) -> Tensor:
    """Return the indices (N, 2) of the features that decide."""
    return planted.nonzero()[:, 1].reshape(-1, 2)


def main() -> None:
    """Explain and tell."""
    loaded, samples = bitlens.load_model("builtin/table"), open_dataset("builtin:table")[:ROWS]
    rows = torch.stack([loaded.preprocess(sample.read()) for sample in samples])
    labels, planted = [one.label for one in samples], torch.stack([torch.from_numpy(one.mask) for one in samples])
    layer = bitlens.IBA(loaded.model, "scaled", keep=0.9)
    layer.fit_statistics(
        [torch.stack([loaded.preprocess(one.read()) for one in open_dataset("builtin:table-train")[:]])]
    )
    noise = {"noise_mean": torch.tensor(MEAN), "noise_std": torch.tensor(STD)}
    readings = bitlens.InputIBA(loaded.model, "hidden1", prior="none", readout="information", keep=0.9, **noise)
    print("| method | kept | least | bits | most | of features that do not decide | rows whose two highest decide |")
    print("|---|---|---|---|---|---|---|")
    for name, method in (("iba", layer), ("input-iba", readings)):
        print(line(name, method.explain(rows, labels, evidence_samples=64), planted), flush=True)


if __name__ == "__main__":
    main()
