# %% [markdown]
# # Which method finds the object?
# Scenes have exact masks, so maps can be judged: how much of a map lies on the object, and how often a pixel of the object is
# higher than one outside.

# %%
import torch

import bitlens
from bitlens import metrics
from bitlens.data.datasets import open_dataset

SCENES = 12
loaded = bitlens.load_model("builtin/scenes")
scenes = [open_dataset("builtin:scenes")[i] for i in range(SCENES)]
images = torch.stack([loaded.preprocess(scene.image) for scene in scenes])
labels = torch.tensor([scene.label for scene in scenes])
masks = torch.stack([torch.from_numpy(scene.mask) for scene in scenes if scene.mask is not None])
train = open_dataset("builtin:scenes-train")
others = torch.stack([loaded.preprocess(train[i].image) for i in range(64)])

# %%
methods = {
    "iba": bitlens.IBA(loaded.model, "layer2", beta=1.0).fit_statistics([others], granularity="channel"),
    **{name: bitlens.method(name, loaded.model) for name in ("grad-cam", "smoothgrad", "saliency", "random")},
}
print(f"{'method':12s} {'mass inside':>16s} {'rank AUC':>16s}")
for name, method in methods.items():
    maps = method.explain(images, labels).map
    scores = [metrics.mass_inside(maps, masks), metrics.rank_auc(maps, masks)]
    print(f"{name:12s}", *[f"{score.mean():8.3f} ± {score.std() / len(score) ** 0.5:.3f}" for score in scores])
print(f"{'chance':12s} {masks.float().mean():8.3f} {0.5:16.3f}")
