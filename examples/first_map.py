# %% [markdown]
# # A first map
# The bundled network explains bundled scenes: nothing to download. Run as a script, or cell by cell as a notebook.

# %%
import torch

import bitlens
from bitlens.data.datasets import open_dataset
from bitlens.view.heatmap import draw_explanation, save_figure

loaded = bitlens.load_model("builtin/scenes")
scenes = open_dataset("builtin:scenes")
images = torch.stack([loaded.preprocess(scenes[i].image) for i in range(68)])

# %% [markdown]
# The bottleneck must know what its layer puts out on other inputs.

# %%
iba = bitlens.IBA(loaded.model, "layer2", beta=1.0).fit_statistics([images[4:]], granularity="channel")
attribution = iba.explain(images[:4])
for row in attribution.summary():
    print(
        f"class {row['target']}: {row['total_bits']:,.0f} bits; probability {row['probability_before']:.3f}, "
        f"{row['probability_under_noise']:.3f} with everything else under noise"
    )

# %%
for i in range(4):
    shown = loaded.preprocess.display(images[i])
    name = loaded.classes[int(attribution.targets[i])] if loaded.classes else attribution.targets[i]
    figure = draw_explanation(shown, attribution.map[i], unit=attribution.unit, title=name, outline=scenes[i].mask)
    save_figure(figure, f"first-map-{i}.png")

# %% [markdown]
# A larger β keeps less. The evidence says when it is too little.

# %%
for beta in (0.1, 1.0, 10.0, 100.0):
    found = bitlens.IBA(loaded.model, "layer2", beta=beta, statistics=iba.statistics).explain(images[:4])
    kept = found.evidence.under_noise.mean() if found.evidence else float("nan")
    print(f"β = {beta:g}: {found.total_bits.mean():,.0f} bits, probability under noise {kept:.2f}")
