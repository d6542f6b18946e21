"""A scene, and nothing prepared

One network, one picture, one line. The layer is found by measuring; the map has the fewest bits found with which the class keeps
90 % of its probability.
"""

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.view.heatmap import save_figure

loaded = bitlens.load_model("builtin/scenes")
scene = open_dataset("builtin:scenes")[8]
attribution = bitlens.explain(loaded, scene.image)

figure = attribution.show()
save_figure(figure, "scene.png")
print(attribution)
