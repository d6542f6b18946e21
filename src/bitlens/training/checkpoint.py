"""Everything that a training needs to go on exactly where it was, in one file that is never half written."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitlens.errors import SettingError
from bitlens.system.arrays import read_arrays, write_arrays
from bitlens.system.checks import mapping, whole_number
from bitlens.system.reading import parsed, whole
from bitlens.training.curve import EpochRow
from bitlens.training.stored import numbers, stored_best, stored_moments, stored_rows, stored_weights

_FORMAT = "bitlens.checkpoint/1"
_ANEW = "remove it to begin anew"


@dataclass
class State:
    """State of a training: how far it is.

    Attributes:
        epoch: that is under way, from 0.
        step: within it, that comes next.
        sums: of this epoch's losses over its steps.
        rows: of the epochs that are done.
        best: the weights after the epoch with the lowest loss so far.
        best_epoch: which one that was, from 1; 0 for none.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    rows: list[EpochRow] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0

    @property
    def waited(self) -> int:
        """Count the epochs since it last got better."""
        return len(self.rows) - self.best_epoch


@dataclass(frozen=True)
class Checkpoint:
    """Checkpoint of a training: its file, and what is kept in it.

    Attributes:
        path: of the file.
        module: what is trained, not wrapped.
        optimizer: of it.
        scaler: of the losses in float16, or None.
        identity: what was trained and how; a training with another identity does not go on from here.
    """

    path: Path
    module: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: Any
    identity: Mapping[str, Any]

    def save(self, state: State) -> None:
        """Write how far the training is, whole or not at all."""
        arrays = {f"weights.{name}": tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}
        arrays |= {f"best.{name}": tensor for name, tensor in state.best.items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            arrays |= {f"optimizer.{number}.{name}": torch.as_tensor(value).cpu() for name, value in values.items()}
        details = {
            "epoch": state.epoch,
            "step": state.step,
            "sums": state.sums,
            "rows": [asdict(row) for row in state.rows],
            "best_epoch": state.best_epoch,
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
        }
        metadata = {"format": _FORMAT, "details": json.dumps(details), "identity": json.dumps(dict(self.identity))}
        write_arrays(self.path, arrays, metadata)

    def load(self) -> State:
        """Put the training back to where the checkpoint was written.

        Raises:
            DataError: if the file is damaged or no checkpoint.
            SettingError: if it belongs to a training with other settings, data or network; the message names them.
        """
        arrays, metadata = read_arrays(self.path, "a checkpoint", lambda m: m.get("format") == _FORMAT)
        with whole(self.path, "a complete checkpoint", _ANEW):
            details, known = (mapping(parsed(metadata[name]), name) for name in ("details", "identity"))
        wanted = json.loads(json.dumps(dict(self.identity)))
        differing = [
            f"{name} was {known.get(name)!r}, now {wanted.get(name)!r}"
            for name in {**known, **wanted}
            if known.get(name) != wanted.get(name)
        ]
        if differing:
            raise SettingError(
                f"{self.path} is of another training ({'; '.join(differing)}): repeat those settings, or use another place"
            )
        with whole(self.path, "a complete checkpoint", _ANEW):
            rows, best_epoch = stored_rows(details), whole_number(details["best_epoch"], "best_epoch")
            if best_epoch > len(rows):
                raise ValueError(f"best_epoch is {best_epoch} of {len(rows)} epochs")
            epoch, step = (whole_number(details[name], name) for name in ("epoch", "step"))
            best, sums = stored_best(arrays, best_epoch, self.module), numbers(details["sums"], "sums")
            weights, moments = stored_weights(arrays, "weights.", self.module), stored_moments(arrays, self.optimizer)
            if self.scaler is not None and details["scaler"] is not None:
                self.scaler.load_state_dict(mapping(details["scaler"], "scaler"))
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
            self.module.load_state_dict(weights)
        return State(epoch, step, sums, rows, best, best_epoch)
