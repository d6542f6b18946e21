"""Layers, and how much must be kept

The same scene at three stages. Early layers follow edges with many bits, late ones say in few bits roughly where. On the command
line this is `bitlens grid`.
"""

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.view.heatmap import save_figure
from bitlens.view.sweep import SweepRow, draw_sweep

loaded = bitlens.load_model("builtin/scenes")
scene = open_dataset("builtin:scenes")[8]
shown = loaded.preprocess.display(loaded.preprocess(scene.image))
shares, rows = (0.5, 0.9, 0.99), []
for layer in ("layer1", "layer2", "layer3"):
    found = [bitlens.explain(loaded, scene.image, layer=layer, keep=keep) for keep in shares]
    captions = [f"{float(one.total_bits):,.0f} bits" for one in found]
    rows.append(SweepRow(shown, layer, "", [one.map[0] for one in found], captions))

columns = [f"keep {keep:g}" for keep in shares]
figure = draw_sweep(rows, columns, unit="bits/pixel", title=loaded.classes[scene.label], square_root=True)
save_figure(figure, "grid.png")
