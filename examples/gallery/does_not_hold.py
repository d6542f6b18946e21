"""A map that does not hold, and how to see it

With a price of information that is too high the map shows only a part of what is needed. It looks as good as any: the evidence
tells. `keep=0.9` asks for what holds in place of a price.
"""

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.view.colours import Scale
from bitlens.view.comparison import Panel, draw_comparison
from bitlens.view.heatmap import save_figure

loaded = bitlens.load_model("builtin/scenes")
scene = open_dataset("builtin:scenes")[5]
asked = {"β = 30": {"beta": 30.0}, "keep = 0.9": {"keep": 0.9}}
found = {title: bitlens.explain(loaded, scene.image, **settings) for title, settings in asked.items()}

panels = [Panel(one.map[0], Scale.over([one.map[0].numpy()], one.unit), title) for title, one in found.items()]
shown = loaded.preprocess.display(loaded.preprocess(scene.image))
figure = draw_comparison(shown, panels, title="one of these maps does not hold")
save_figure(figure, "does-not-hold.png")
for title, one in found.items():
    print(f"{title}: {float(one.total_bits):,.0f} bits, {float(one.evidence.kept):.2f} of the decision kept")
