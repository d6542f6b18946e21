"""A task that is as small as can be: fit a line to points; run as a script it trains under `accelerate launch`."""

import json
import sys
from pathlib import Path

import torch
from torch import nn

from bitlens.training.examples import InMemory
from bitlens.training.loop import train
from bitlens.training.settings import TrainingSettings
from bitlens.training.task import Losses


class Points:
    """Prepared points."""

    def __init__(self, x, names):
        self.x, self.names, self.nbytes = x, names, x.nbytes


class Line:
    """y = 3 x - 1 with noise that depends on the sample's seed alone."""

    def __init__(self, poison=None):
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        self.prepared, self.poison, self.seen = 0, poison, []

    def identity(self):
        return {"task": "line"}

    def prepare(self, batch):
        self.prepared += 1
        return Points(batch.inputs.first, batch.names)

    def losses(self, module, prepared, seeds, epoch, dtype):
        self.seen.append((epoch, tuple(prepared.names), dtype))
        noise = torch.tensor([torch.randn((), generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        wanted = 3 * prepared.x[:, 0] - 1 + 0.1 * noise
        lost = (module(prepared.x)[:, 0].float() - wanted).square()
        if self.poison is not None and epoch == self.poison:
            lost = lost * float("nan")
        return Losses(lost, {"absolute": lost.detach().sqrt()})

    def diagnose(self, _module, prepared, _seeds, _epoch):
        return f"poisoned at {prepared.names[0]}"


class PowerCutError(Exception):
    """The power is cut."""


def points(count=48):
    return InMemory([torch.linspace(-1, 1, count)[:, None]])


def settings(**others):
    return TrainingSettings(
        **{
            "epochs": 4,
            "batch": 8,
            "learning_rate": 0.01,
            "schedule": "constant",
            "patience": 0,
            "held_out": 0.2,
            **others,
        }
    )


def losses_of(done):
    return [(row.train, row.held_out) for row in done.rows]


__all__ = ["Line", "PowerCutError", "losses_of", "points", "settings"]

if __name__ == "__main__":
    line = Line()
    finished = train(line, points(), settings(**json.loads(sys.argv[2])))
    if finished.leads:
        weights = {name: value.tolist() for name, value in line.module.state_dict().items()}
        Path(sys.argv[1]).write_text(json.dumps({"losses": losses_of(finished), "weights": weights}))
