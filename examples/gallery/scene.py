"""A scene, and nothing prepared

One network, one picture, one line. The layer is found by measuring; the map has the fewest bits found with which the class keeps
90 % of its probability.
"""

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.view.heatmap import draw_explanation, save_figure

loaded = bitlens.load_model("builtin/scenes")
scene = open_dataset("builtin:scenes")[8]
attribution = bitlens.explain(loaded, scene.image)

shown = loaded.preprocess.display(loaded.preprocess(scene.image))
figure = draw_explanation(shown, attribution.map[0], unit=attribution.unit, title=loaded.classes[scene.label])
save_figure(figure, "scene.png")
bits, kept = float(attribution.total_bits), float(attribution.evidence.kept)
print(f"{bits:,.0f} bits at {attribution.layer}, {kept:.2f} of the decision kept")
