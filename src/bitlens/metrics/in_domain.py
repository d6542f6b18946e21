"""A copy of a network to which inputs with deleted places are nothing new: fine-tuned on them.

What a network says of a photo with a grey square also tells what it makes of grey squares. Hesse et al. (NeurIPS 2024, IDSDS)
and Zheng et al. (ICLR 2025, F-Fidelity) fine-tune it on deletions that no map has chosen before they delete what a map calls
important. They learn from labels; here the copy learns to say of the damaged input what the network says of the whole one, so
that no label is needed and it stays the network that was asked about. Its layers keep their running statistics, and nothing is
dropped out. Where the network answers at many places (segments, heat maps), what its numbers are does not matter: the copy learns
the answers themselves.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.core.inputs import ModelInputs
from bitlens.core.outputs import OutputForm
from bitlens.core.places import Places
from bitlens.errors import ModelError, SettingError, TargetError, at_least
from bitlens.metrics.ranking import Tiles
from bitlens.metrics.single_deletion import cells_of
from bitlens.probe import Network, watching
from bitlens.probe.fingerprint import weights_hash
from bitlens.training.examples import Batch, Examples
from bitlens.training.loop import Progress, train
from bitlens.training.settings import TrainingSettings
from bitlens.training.task import Losses

FINE_TUNING = TrainingSettings(epochs=10, batch=16, learning_rate=1e-4, patience=3)
"""A few looks at each sample, at a rate that leaves the network what it is."""


@dataclass(frozen=True)
class Deletion(ABC):
    """Places that are deleted of an input by chance, whatever any map says."""

    @abstractmethod
    def gone(self, places: Places, generator: torch.Generator) -> Tensor:
        """Return which places (...) of one input go, bool."""

    def identity(self) -> dict[str, Any]:
        """Return plain values that tell it apart."""
        return {"deletion": type(self).__name__, **asdict(self)}


@final
@dataclass(frozen=True)
class OneCell(Deletion):
    """Half of the inputs lose one cell of a grid (Hesse et al.).

    Attributes:
        cells: along every axis.
    """

    cells: int = 4

    def gone(self, places: Places, generator: torch.Generator) -> Tensor:
        """Return one cell, or nothing."""
        numbers = cells_of(places, self.cells)
        chosen = torch.randint(0, 2 * (int(numbers.max()) + 1), (), generator=generator)
        return numbers == chosen


@final
@dataclass(frozen=True)
class RandomTiles(Deletion):
    """Every input loses a share of its tiles (Zheng et al.): any share up to the largest, each as likely.

    Attributes:
        tile: side of a tile, in places.
        share: the largest.
    """

    tile: int = 8
    share: float = 0.1

    def __post_init__(self) -> None:
        at_least(1, tile=self.tile)
        if not 0 < self.share < 1:
            raise SettingError(f"share must lie above 0 and below 1, got {self.share}")

    def gone(self, places: Places, generator: torch.Generator) -> Tensor:
        """Return so many tiles."""
        tiles = Tiles.over(places, self.tile)
        most = int(self.share * tiles.count)
        count = int(torch.randint(0, most + 1, (), generator=generator))
        gone = torch.zeros(tiles.count, dtype=torch.bool)
        gone[torch.randperm(tiles.count, generator=generator)[:count]] = True
        return tiles.spread(gone)


@dataclass(frozen=True)
class Whole:
    """Inputs, and what the network says of them.

    Attributes:
        inputs: whole.
        said: (N, classes) log-probabilities; of a network that answers at many places its answers (N, columns, places ...).
        names: of the samples.
    """

    inputs: ModelInputs
    said: Tensor
    names: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.inputs.first.nbytes + self.said.nbytes


class InDomainTask:
    """Teaches a copy of a network to say of damaged inputs what the network says of whole ones.

    Args:
        network: that is asked about; it stays as it is.
        deletion: what is deleted. Zero takes its place: after normalisation the data set's mean.

    Raises:
        ModelError: if no weight could be tuned.
    """

    def __init__(self, network: Network, deletion: Deletion) -> None:
        self.network, self.deletion = network, deletion
        self.module = copy.deepcopy(network.model).eval()
        tuned = [parameter for parameter in self.module.parameters() if parameter.is_floating_point()]
        if not tuned:
            raise ModelError(
                f"{type(network.model).__name__} has no weights that could be tuned (are they quantised?): choose a metric that "
                "asks the network itself, such as sds or degradation-8"
            )
        for parameter in tuned:
            parameter.requires_grad_()

    def identity(self) -> Mapping[str, Any]:
        """Return what must stay the same where a training goes on."""
        return {"weights": weights_hash(self.network.model), **self.deletion.identity()}

    @torch.no_grad()
    def prepare(self, batch: Batch) -> Whole:
        """Ask the network about whole inputs.

        Raises:
            TargetError: if its answer is neither one number for each of several classes nor of many places.
        """
        inputs = self.network.prepared(batch.inputs).to(self.network.device)
        output = inputs.passed_to(self.network.model)
        said = _said(self.network.form(inputs, output), output)
        return Whole(inputs, said, batch.names)

    def losses(
        self, module: nn.Module, prepared: Whole, seeds: Sequence[int], epoch: int | None, dtype: torch.dtype | None
    ) -> Losses:
        """Return the divergence of what is said of the damaged inputs from what is said of the whole ones.

        In nats; of answers at many places the share of their variance that is missed.
        """
        del epoch
        damaged = self.damaged(prepared.inputs, seeds)
        with torch.autocast(self.network.device.type, dtype, enabled=dtype is not None):
            output = damaged.passed_to(module)
        said, whole = _said(self.network.form(prepared.inputs, output), output).float(), prepared.said.float()
        if said.dim() > 2:
            spread = whole.flatten(1).var(1).clamp_min(torch.finfo(whole.dtype).tiny)
            lost = (said - whole).square().flatten(1).mean(1) / spread
        else:
            lost = F.kl_div(said, whole, reduction="none", log_target=True).sum(1)
        agreed = (said.argmax(1) == whole.argmax(1)).detach().float()
        return Losses(lost, {"agreement": agreed.reshape(len(agreed), -1).mean(1)})

    def damaged(self, inputs: ModelInputs, seeds: Sequence[int]) -> ModelInputs:
        """Return inputs without what is deleted of each, by a seed for each."""
        places = inputs.placed("fine-tuning on deletions")
        gone = torch.stack([self.deletion.gone(places, torch.Generator().manual_seed(seed)) for seed in seeds])
        first = places.first(inputs.first)
        return inputs.with_first(places.back(first.masked_fill(gone[:, None].to(first.device), 0)))

    def diagnose(self, module: nn.Module, prepared: Whole, seeds: Sequence[int], epoch: int | None) -> str:
        """Return where a number that is not finite appears first."""
        del epoch
        with torch.no_grad(), watching(module) as watched:
            self.damaged(prepared.inputs, seeds).passed_to(module)
        where = f"the output of {watched[0][0]}" if watched else "the loss"
        return f"{where} is not finite: use a smaller learning_rate"


def in_domain(
    network: Network,
    examples: Examples,
    deletion: Deletion,
    settings: TrainingSettings = FINE_TUNING,
    *,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> nn.Module:
    """Return a copy of a network that knows inputs with deleted places.

    Args:
        network: that is asked about; it stays as it is.
        examples: inputs like those that are explained, but others.
        deletion: what is deleted of them by chance.
        settings: of the training.
        checkpoint: a file that is written now and then; a training with the same settings goes on from it.
        progress: called after every step.

    Raises:
        TargetError: if the network gives one answer and does not tell classes apart.
        FitError: at the first number that is not finite.
        SettingError: if there are too few examples, or the checkpoint is of another training.
    """
    task = InDomainTask(network, deletion)
    train(task, examples, settings, checkpoint=checkpoint, progress=progress)
    return task.module.requires_grad_(requires_grad=False)


def _said(form: OutputForm, output: Any) -> Tensor:
    answer = form.answer(output)
    if answer.dim() > 2:
        return answer
    if form.labels or form.numbers == "regression":
        raise TargetError(
            f"fine-tuning on deletions needs a network that tells classes apart; this one gives {form.numbers}: choose a metric "
            "without it, such as sds or degradation-8"
        )
    return form.scores(output).log_softmax(1)
