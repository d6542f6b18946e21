"""What all baselines share: batches in groups that fit the memory, one score per row, a map for every image."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bitlens.core.attribution import Attribution
from bitlens.core.inputs import ModelInputs, as_captum
from bitlens.core.layout import LAYOUTS
from bitlens.core.passes import Precision, in_precision, rows_at_once, suffix_dtype
from bitlens.core.targets import Target, as_target, select_targets
from bitlens.errors import InputError, SettingError, TargetError
from bitlens.probe import Network
from bitlens.version import __version__

__all__ = ["Baseline", "Group"]


@dataclass(frozen=True)
class Group:
    """Images that are explained together, and the network that is asked about them.

    Attributes:
        inputs: the arguments of the network for these samples.
        images: (n, C, H, W), the first of them.
        run: (variants (R, C, H, W), rows (R,)) → output; row r is a variant of sample rows[r].
        target: the question, one for each of the n samples.
        output: of the network for the unchanged images, without gradients.
        rows: how many rows may go through the network at once.
    """

    inputs: ModelInputs
    images: Tensor
    run: Callable[..., Any]
    target: Target
    output: Any
    rows: int

    def score(self, variants: Tensor, rows: Tensor | None = None) -> Tensor:
        """The target's score (R,) of variants (R, C, H, W), the pre-softmax logit of a class.

        Args:
            variants: changed images.
            rows: (R,) to which of the n samples each belongs; by default row b*n + i belongs to sample i.
        """
        return self._one_each(variants, self._asked(rows).score(self._pass(variants, rows)))

    def value(self, variants: Tensor, rows: Tensor | None = None) -> Tensor:
        """What a person reads of the target (R,), the probability of a class, likewise."""
        return self._one_each(variants, self._asked(rows).value(self._pass(variants, rows)))

    def _pass(self, variants: Tensor, rows: Tensor | None) -> Any:
        return self.run(variants.clone(), rows)  # a network may overwrite what it is given

    def _asked(self, rows: Tensor | None) -> Target:
        return self.target if rows is None else self.target.select(rows)

    @staticmethod
    def _one_each(variants: Tensor, answers: Tensor) -> Tensor:
        if answers.shape != (len(variants),):
            raise TargetError(
                f"the target must give one number per row, shape ({len(variants)},); it gave {tuple(answers.shape)}"
            )
        return answers


class Baseline(ABC):
    """A method that gives every pixel a score.

    Scores are computed in the network's own precision, on its device; the network is left as it was after every call.

    Args:
        model: the network.
        seed: of all random numbers; the same seed gives the same maps.
        internal_batch_size: how many rows go through the network at once; "auto" bounds the memory.
    """

    method: str
    """Its name in `bitlens.methods`."""

    layer: str = ""
    """Dotted name of the layer it looks at, if there is one."""

    copies: int = 1
    """How many rows one image needs at the same time, at least: it decides how many images make a group."""

    precision: Precision = "float32"
    """What the network computes in, where a method lets that be chosen."""

    def __init__(self, model: nn.Module, *, seed: int = 0, internal_batch_size: int | Literal["auto"] = "auto") -> None:
        if internal_batch_size != "auto" and not (isinstance(internal_batch_size, int) and internal_batch_size > 0):
            raise SettingError(f"internal_batch_size must be 'auto' or a positive integer, got {internal_batch_size!r}")
        self.network = Network(model)
        self.seed = seed
        self.internal_batch_size = internal_batch_size

    @property
    def model(self) -> nn.Module:
        """The network that is explained."""
        return self.network.model

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything besides the seed that decides what a map looks like, as plain values."""

    @abstractmethod
    def maps(self, group: Group) -> Tensor:
        """(n, H, W) scores for a group of images; autograd is on, weights have no gradients."""

    def running(self, inputs: ModelInputs, dtype: torch.dtype | None) -> AbstractContextManager[Callable[..., Any]]:
        """Within the block, the network's answers to changed images: see `Network.running`."""
        return self.network.running(inputs, dtype)

    def explain(
        self, inputs: Any, targets: Any = None, *, progress: Callable[[int], None] | None = None
    ) -> Attribution:
        """A score for every pixel.

        Args:
            inputs: (N, C, H, W) images, or a tuple or mapping of arguments of which the first tensor is the images.
            targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable from the
                network's output to one score per row.
            progress: called with the number of images explained so far.

        Returns:
            Maps (N, H, W) with unit "score".

        Raises:
            InputError: if the inputs are empty, not finite, or no images.
            TargetError: if the targets do not fit the network's output.
            SettingError: if the method cannot be used on this network.
        """
        batch = self.network.prepared(inputs)
        if batch.image_size is None:
            raise InputError(
                f"{self.method} needs images (N, C, H, W), got {tuple(batch.first.shape)} of {batch.first.dtype}"
            )
        rows = self.internal_batch_size
        if rows == "auto":
            rows = rows_at_once(self.network.bytes_per_row(batch), self.network.device)
        size = max(1, rows // self.copies)
        parts = []
        for start in range(0, batch.count, size):
            parts.append(self._explain_group(batch, targets, start, size, rows))
            if progress is not None:
                progress(min(start + size, batch.count))
        return Attribution.join(parts)

    def attribute(self, inputs: Any, target: Any = None, additional_forward_args: Any = None) -> Any:
        """The maps as Captum's methods return them: (N, 1, H, W) on the inputs' device, in a tuple for a tuple."""
        given = ModelInputs.of(inputs, additional_forward_args)
        return as_captum(self.explain(given, target).map, inputs, given.first.device)

    def _explain_group(self, batch: ModelInputs, targets: Any, start: int, size: int, rows: int) -> Attribution:
        inputs = batch.select(slice(start, start + size))
        chosen = select_targets(targets, start, start + inputs.count, batch.count)
        device = self.network.device
        dtype = suffix_dtype(self.precision, inputs.first)
        with (
            torch.autocast(device.type, enabled=False),
            self.running(inputs, dtype) as passes,
            fixed_seed(self.seed, device),
        ):
            run = in_precision(passes, dtype, inputs.first, LAYOUTS["CHW"])
            with torch.no_grad():
                output = run(inputs.first.clone())
            target = as_target(chosen, output, inputs.count)
            group = Group(inputs, inputs.first, run, target, output, rows)
            with torch.enable_grad():
                maps = self.maps(group).detach().float().cpu()
        texts = target.describe()
        return Attribution(
            map=maps,
            unit="score",
            method=self.method,
            targets=texts if len(texts) == inputs.count else texts * inputs.count,
            settings={**self.settings(), "seed": self.seed},
            model=type(self.model).__name__,
            layer=self.layer,
            version=__version__,
        )


@contextmanager
def fixed_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from a seed within the block (libraries draw from the global stream); put back afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
