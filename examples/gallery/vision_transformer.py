"""A vision transformer

Tokens are patches: the map lies on the image as that of a convolution does. What passes by the class token is no place of the
image, and is told beside it.
"""

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.view.heatmap import draw_explanation, save_figure

loaded = bitlens.load_model("builtin/scenes-vit")
scene = open_dataset("builtin:scenes")[5]
attribution = bitlens.explain(loaded, scene.image)

shown = loaded.preprocess.display(loaded.preprocess(scene.image))
figure = draw_explanation(shown, attribution.map[0], unit=attribution.unit, title=loaded.classes[scene.label])
save_figure(figure, "vision-transformer.png")
bits, kept = float(attribution.total_bits), float(attribution.evidence.kept)
print(f"{bits:,.0f} bits at {attribution.layer}, {kept:.2f} of the decision kept")
