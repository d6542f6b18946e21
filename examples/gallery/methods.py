"""Several methods, side by side

Every method of `bitlens methods` has one signature. Bits have a scale of their own; scores of other methods are in no unit, and
each has its own colours.
"""

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.view.colours import Scale
from bitlens.view.comparison import Panel, draw_comparison
from bitlens.view.heatmap import save_figure

loaded = bitlens.load_model("builtin/scenes")
scene = open_dataset("builtin:scenes")[3]
panels = []
for name in ("iba", "grad-cam", "occlusion-8", "integrated-gradients"):
    found = bitlens.explain(loaded, scene.image, method=name)
    panels.append(Panel(found.map[0], Scale.over([found.map[0].numpy()], found.unit), name))

shown = loaded.preprocess.display(loaded.preprocess(scene.image))
figure = draw_comparison(shown, panels, title=loaded.classes[scene.label], outline=scene.mask)
save_figure(figure, "methods.png")
