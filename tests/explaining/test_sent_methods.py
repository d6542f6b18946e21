"""Methods as they travel to workers."""

import torch

import bitlens
from bitlens.explaining.on_workers import _Sent
from bitlens.explaining.photos import Ready
from bitlens.methods.specs import Spec


def test_a_bottleneck_that_was_taught_nothing_travels_and_explains_the_same():
    """Its statistics are those of each photo's own places."""
    loaded = bitlens.load_model("builtin/scenes")
    spec = Spec("iba", {"layer": "layer3", "keep": 0.9, "quality": "fast"})
    made = bitlens.method("iba", loaded.model, **spec.settings)
    sent = _Sent.of(Ready("iba", spec, made))
    assert sent.learnt is None
    image = torch.rand(1, 3, 96, 96)
    assert torch.equal(sent.built(loaded).method.explain(image).map, made.explain(image).map)
