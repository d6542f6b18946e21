"""Photos, and what tells one from another

No network that comes with bitlens was trained on photos. This one learns in seconds to tell pieces of four photos that come with
scikit-image, and is then asked about two of them as a whole. It knows colours: for the coffee it reads the cup and the saucer.
"""

import torch
from skimage import data
from torch import nn

import bitlens
from bitlens.view.heatmap import save_figure
from gallery_things import fitted, pieces

torch.manual_seed(0)
photos = [one()[:300:2, :440:2] for one in (data.chelsea, data.coffee, data.rocket, data.astronaut)]
photos = torch.stack([torch.from_numpy(photo.copy()) for photo in photos]).movedim(3, 1) / 255
channels = ((3, 16), (16, 32), (32, 64))
stages = [part for pair in channels for part in (nn.Conv2d(*pair, 5, 2, 2), nn.ReLU())]
network = nn.Sequential(nn.BatchNorm2d(3), *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4))
learnt_from, labels = pieces(photos, 400, seed=1)
fitted(network, learnt_from, labels)

iba = bitlens.IBA(network, "4", keep=0.9)
iba.fit_statistics([learnt_from], granularity="channel")
attribution = iba.explain(photos[:2])
figure = attribution.show(photos[:2])
save_figure(figure, "photo.png")
print(attribution)
