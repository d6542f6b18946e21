"""A class that the network did not choose

Targets are questions: a class by name, several, “not this class”, a value, or any function of the output. Asked about a class
that it did not predict, the map shows what speaks for that class; the evidence says how little that was on the clean picture.
"""

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.view.colours import Scale
from bitlens.view.comparison import Panel, draw_comparison
from bitlens.view.heatmap import save_figure

loaded = bitlens.load_model("builtin/scenes")
scene = open_dataset("builtin:scenes")[3]
chosen = loaded.classes[scene.label]
other = next(name for name in loaded.classes if name != chosen)
found = {name: bitlens.explain(loaded, scene.image, name, beta=1.0) for name in (chosen, other)}

panels = [Panel(one.map[0], Scale.over([one.map[0].numpy()], one.unit), f"{name}?") for name, one in found.items()]
shown = loaded.preprocess.display(loaded.preprocess(scene.image))
figure = draw_comparison(shown, panels, title=f"a {chosen}: what speaks for each class?")
save_figure(figure, "what-if.png")
for name, one in found.items():
    proof = one.evidence
    print(f"{name}: {float(proof.before):.2f} before, {float(proof.under_noise):.2f} with the rest under noise")
