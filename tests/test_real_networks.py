"""Real networks and photos: maps point at the object, the prediction survives, precision and batch do not matter."""

import csv
import importlib.util

import pytest
import torch
from PIL import Image

from bitlens import IBA
from bitlens.data.boxes import box_mask, parse_boxes
from bitlens.data.preprocessing import Preprocessing
from bitlens.metrics import bounding_box_ratio
from bitlens.models.default_layer import default_layer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(data_folder):
    return data_folder / "imagenet"


def network(data_folder, name):
    place = importlib.util.spec_from_file_location("zoo", data_folder / "zoo.py")
    zoo = importlib.util.module_from_spec(place)
    place.loader.exec_module(zoo)
    model, preprocess = getattr(zoo, name)()
    return model, Preprocessing(preprocess)


def photos(folder, preprocess, count):
    """Photos with small boxes, their labels and box masks."""
    images, labels, masks = [], [], []
    for row in csv.DictReader((folder / "val.csv").open()):
        photo = Image.open(folder / row["file"]).convert("RGB")
        mask = box_mask(parse_boxes(row["boxes"]), photo.size, preprocess)
        if 0.02 < mask.mean() < 0.33:
            images.append(preprocess(photo))
            labels.append(int(row["label"]))
            masks.append(mask)
        if len(images) == count:
            break
    return torch.stack(images), labels, torch.stack(masks)


def others(folder, preprocess, count):
    rows = list(csv.DictReader((folder / "more.csv").open()))
    return torch.stack(
        [preprocess(Image.open(folder / row["file"]).convert("RGB")) for row in rows[:: len(rows) // count]]
    )


@pytest.mark.parametrize("name", ["mobilenet_edgetpu", "mobilenet_v2", "squeezenet"])
def test_maps_point_at_the_object_and_the_prediction_survives(data_folder, folder, name):
    model, preprocess = network(data_folder, name)
    images, labels, masks = photos(folder, preprocess, 12)
    iba = IBA(model, default_layer(model, images[:1]), precision="float32")
    iba.fit_statistics([others(folder, preprocess, 64)], granularity="channel")
    made = iba.explain(images, labels)
    assert iba.probe.mode == "replay"
    ratios = bounding_box_ratio(made.map, masks)
    error = ratios.std() / len(ratios) ** 0.5
    assert ratios.mean() - 2 * error > masks.mean(), f"box ratio {ratios.mean():.3f} ± {error:.3f}"
    assert made.evidence.under_noise.mean() > 0.8 * made.evidence.before.mean()

    some = iba.explain(images[3:5], labels[3:5])
    # Convolutions round otherwise at other batch sizes, and Adam's first steps are signs of gradients: near zero they flip.
    assert (some.map - made.map[3:5]).abs().max() < 0.02 * made.map.max()
    for a, b in zip(some.map, made.map[3:5], strict=True):
        assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.9999
    low = IBA(model, iba.probe.name, precision="bfloat16", statistics=iba.statistics).explain(images[:4], labels[:4])
    for a, b in zip(low.map, made.map[:4], strict=True):
        assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.99
