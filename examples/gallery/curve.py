"""How few bits until the decision goes

`curve=True` gives bits against the share of the decision that is kept: the rate and the distortion of one decision.
"""

import numpy as np

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.view.charts import Chart, Curve
from bitlens.view.curves import draw_charts
from bitlens.view.heatmap import save_figure

loaded = bitlens.load_model("builtin/scenes")
scenes = open_dataset("builtin:scenes")
curves = []
for number in (3, 5, 8):
    found = bitlens.explain(loaded, scenes[number].image, curve=True).curve
    name = loaded.classes[scenes[number].label]
    curves.append(
        Curve(f"{name}, scene {number}", found.bits[0].double().numpy(), found.kept[0].double().numpy(), np.array([]))
    )

chart = Chart("", curves, "bits that pass", "share of the decision kept")
figure = draw_charts([chart], title="bits against what they keep")
save_figure(figure, "curve.png")
