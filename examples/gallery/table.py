"""A row of a table

Twenty readings of a pump, of which two decide what is wrong with it: its vibration and the leakage of its seal. The network is
restricted where its input is scaled, so each bit belongs to a reading.
"""

import bitlens
from bitlens.data.datasets import open_dataset

row = open_dataset("builtin:table")[1].read()
attribution = bitlens.explain("builtin/table", [row])
figure = attribution.show()
figure.savefig("table.png", dpi=200)
print(f"{float(attribution.total_bits):,.1f} bits, {float(attribution.evidence.kept):.2f} of the decision kept")
