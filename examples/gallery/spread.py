"""How far seeds agree

Another seed finds another map that holds as well. `spread=4` fits four, and says where they differ: what all of them found needs
no second thought, what only one found may be replaced by something else.
"""

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.view.heatmap import save_figure

scene = open_dataset("builtin:scenes")[3]
attribution = bitlens.explain("builtin/scenes", scene.image, spread=4)

figure = attribution.show(spread=True)
save_figure(figure, "spread.png")
print(attribution)
