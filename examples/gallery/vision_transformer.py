"""A vision transformer

Tokens are patches: the map lies on the image as that of a convolution does. What passes by the class token is no place of the
image, and is told beside it.
"""

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.view.heatmap import save_figure

loaded = bitlens.load_model("builtin/scenes-vit")
scene = open_dataset("builtin:scenes")[5]
attribution = bitlens.explain(loaded, scene.image)

figure = attribution.show()
save_figure(figure, "vision-transformer.png")
print(attribution)
