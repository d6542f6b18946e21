"""A row of a table

Twenty readings of a pump, of which two decide what is wrong with it: its vibration and the leakage of its seal. The network is
restricted where its input is scaled, so each bit belongs to a reading.
"""

import torch

import bitlens
from bitlens.data.datasets import open_dataset

loaded = bitlens.load_model("builtin/table")
others = torch.stack([loaded.preprocess(other.read()) for other in open_dataset("builtin:table-train")])
iba = bitlens.IBA(loaded.model, "scaled")
iba.fit_statistics([others], granularity="channel")  # a reading's noise looks like that reading of other pumps

row = open_dataset("builtin:table")[1].read()
attribution = bitlens.explain(loaded, [row], statistics=iba.statistics, beta=1.0)
figure = attribution.show()
figure.savefig("table.png", dpi=200)
print(f"{float(attribution.total_bits):,.1f} bits, {float(attribution.evidence.kept):.2f} of the decision kept")
