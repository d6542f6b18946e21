"""What all baselines share: batches in groups that fit the memory, one score per row, a map for every image or text."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import ImageQuestion, TextModel, TextQuestion, asking
from bitlens.baselines.changes import selected
from bitlens.core.attribution import Attribution
from bitlens.core.inputs import ModelInputs, as_captum
from bitlens.core.passes import Passes, Precision, SeedAndRows, in_precision, suffix_dtype
from bitlens.core.targets import as_target, permuted_targets
from bitlens.data.tokenizing import TokenBatch
from bitlens.errors import InputError, NotFiniteError, SettingError
from bitlens.probe import Network, locating
from bitlens.probe.axes import placed
from bitlens.version import __version__

BatchT = TypeVar("BatchT")
QuestionT = TypeVar("QuestionT", ImageQuestion, TextQuestion)


class Baseline(ABC, Generic[BatchT, QuestionT]):
    """A method that gives every pixel or token a score.

    Scores are computed in the network's own precision, unless a method lets it be chosen, and on its device. The network is
    left as it was after every call.

    Args:
        model: the network.
        **run: `seed` of all random numbers (the same seed gives the same maps; it is kept with the map also where nothing is
            random); `internal_batch_size`, how many rows go through the network at once ("auto" bounds the memory); and,
            of methods that ask for no gradients, `precision` of the network: "float32", "bfloat16", or "auto" (bfloat16
            where the hardware multiplies it natively).

    Raises:
        SettingError: if a setting has a value that makes no sense.
    """

    method: str
    """Its name in the list of methods."""

    layer: str = ""
    """Dotted name of the layer it looks at, if there is one."""

    run_defaults: ClassVar[dict[str, Any]] = {"precision": "float32"}
    """What differs from the defaults of `Passes`."""

    copies: int = 1
    """How many rows one sample needs at the same time, at least: it decides how many samples make a group."""

    def __init__(self, model: nn.Module, **run: Unpack[SeedAndRows]) -> None:
        if "precision" in run:
            raise SettingError(f"{type(self).__name__} computes in the network's own precision: leave out precision")
        self.passes = Passes(precision="float32", **run)
        self.network = Network(model, output=self.passes.output)

    @property
    def model(self) -> nn.Module:
        """The network that is explained."""
        return self.network.model

    @property
    def seed(self) -> int:
        """The seed of all random numbers."""
        return self.passes.seed

    @property
    def precision(self) -> Precision:
        """The precision of the network."""
        return self.passes.precision

    def choices(self) -> dict[str, Any]:
        """Return everything besides the seed that decides what a map looks like, as plain values.

        These are what the constructor takes by name: each has an attribute of its name.
        """
        own = {name: getattr(self, name) for name in _settings_of(type(self))}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}

    def settings(self) -> dict[str, Any]:
        """Return everything that decides what a map looks like, as plain values."""
        return {**self.choices(), "seed": self.seed, **self.passes.declared()}

    @abstractmethod
    def maps(self, question: QuestionT) -> Tensor:
        """Return a map for each of the samples of a group; autograd is on, weights have no gradients."""

    def explain(
        self, inputs: Any, targets: Any = None, *, progress: Callable[[int], None] | None = None
    ) -> Attribution:
        """Give every pixel or token a score.

        Args:
            inputs: of a network for images (N, C, H, W) images, or a tuple or mapping of arguments of which the first tensor
                is the images; series (N, C, T) or (N, T, C), volumes (N, C, D, H, W) and tables (N, D) alike; of one for texts
                N texts of T positions, as the network's tokenizer gives them.
            targets: None for the predicted class, a class index, (N,) indices, a `Target`, or a callable from the
                network's output to one score per row.
            progress: called with the number of samples explained so far.

        Returns:
            Maps (N, H, W), (N, T), (N, D, H, W) or (N, D) with unit "score".

        Raises:
            InputError: if the inputs are empty, not finite, or of another kind.
            TargetError: if the targets do not fit the network's output.
            SettingError: if the method cannot be used on this network.
        """
        known, batch = self._read(inputs, targets)
        rows = self.passes.rows(lambda: self.network.bytes_per_row(known), self.network.device)
        size = max(1, rows // self.copies)
        parts = []
        for start in range(0, known.count, size):
            end = min(start + size, known.count)
            part = slice(start, end)
            with self._locating(known, batch, targets, part, rows):
                parts.append(self._explained(batch, part, permuted_targets(targets, part, known.count), rows))
            if progress is not None:
                progress(end)
        return Attribution.join(parts)

    def _locating(
        self, known: ModelInputs, batch: BatchT, targets: Any, part: slice, rows: int
    ) -> AbstractContextManager[None]:
        """Refuse, within the block, maps that are not finite, with the sample and the module that they come from."""

        def one_of_them(one: int) -> tuple[slice, Any]:
            alone = slice(part.start + one, part.start + one + 1)
            return alone, permuted_targets(targets, alone, known.count)

        def score(output: Any, one: int) -> Tensor:
            return as_target(one_of_them(one)[1], output, 1).score(output)

        def again(one: int) -> Attribution:
            return self._explained(batch, *one_of_them(one), rows)

        return locating(self.network.model, known.select(part), part.start.__add__, score, again)

    def _explained(self, batch: BatchT, part: slice, targets: Any, rows: int) -> Attribution:
        device = self.network.device
        with (
            fixed_seed(self.seed, device),
            torch.autocast(device.type, enabled=False),
            self._asking(batch, part, targets, rows) as question,
            torch.enable_grad(),
        ):
            with torch.no_grad():  # a gradient may well be zero where the answer is NaN
                NotFiniteError.refuse("the network's answer", question.target.value(question.output))
            maps = self._finished(self.maps(question).detach(), question, batch).float().cpu()
        texts = question.target.describe()
        return Attribution(
            map=maps,
            unit="score",
            method=self.method,
            targets=texts if len(texts) == len(maps) else texts * len(maps),
            settings=self.settings(),
            model=type(self.model).__name__,
            layer=self.layer,
            version=__version__,
        )

    @abstractmethod
    def _read(self, inputs: Any, targets: Any) -> tuple[ModelInputs, BatchT]:
        """Return what the network is called with, and the samples on its device, or refuse what is of another kind."""

    @abstractmethod
    def _asking(self, batch: BatchT, part: slice, targets: Any, rows: int) -> AbstractContextManager[QuestionT]:
        """Hold the network so that it answers for changed copies of some of the samples."""

    def _finished(self, maps: Tensor, question: QuestionT, batch: BatchT) -> Tensor:  # noqa: ARG002
        """Return the maps of a group as they belong into the attribution of the whole batch."""
        return maps


class ImageBaseline(Baseline[ModelInputs, ImageQuestion]):
    """A method that gives every pixel of images a score, or every place of series, volumes and tables; see `Baseline`."""

    folds: bool = True
    """Whether batch norm may be folded into the convolutions before it."""

    def attribute(self, inputs: Any, target: Any = None, additional_forward_args: Any = None) -> Any:
        """Return the maps as Captum's methods do: (N, 1, H, W) on the inputs' device, in a tuple for a tuple."""
        given = placed(self.model, ModelInputs.of(inputs, additional_forward_args))
        return as_captum(self.explain(given, target).map, inputs, given.first.device, given.places)

    def _read(self, inputs: Any, targets: Any) -> tuple[ModelInputs, ModelInputs]:
        known = self.network.prepared(inputs, targets)
        known.placed(self.method)
        return known, known

    @contextmanager
    def _asking(self, batch: ModelInputs, part: slice, targets: Any, rows: int) -> Iterator[ImageQuestion]:
        inputs, places = batch.select(part), batch.placed(self.method)
        dtype = suffix_dtype(self.passes.precision, inputs.first, self.model)
        with self.network.running(inputs, dtype, fold=self.folds) as passes:
            run = in_precision(lambda z: passes(places.back(z)), dtype, inputs.first, places.layout)
            with torch.no_grad():
                output = run(places.first(inputs.first).clone())
            target = as_target(targets, output, inputs.count, self.network.form(inputs, output))
            yield ImageQuestion(inputs, places, run, target, output, rows)


class TextBaseline(Baseline[TokenBatch, TextQuestion]):
    """A method that gives every token of texts a score. Special tokens and padding get 0 and are never removed.

    Args:
        loaded: the network, its tokenizer, and the name of its word embedding.
        **run: as of `Baseline`.
    """

    def __init__(self, loaded: TextModel, **run: Unpack[SeedAndRows]) -> None:
        super().__init__(loaded.model, **run)
        self.loaded = loaded

    def _read(self, inputs: Any, targets: Any) -> tuple[ModelInputs, TokenBatch]:  # noqa: ARG002
        if not isinstance(inputs, TokenBatch):
            raise InputError(
                f"{self.method} needs a TokenBatch, as the network's tokenizer makes of texts, got {type(inputs).__name__}"
            )
        return self.network.prepared(inputs.inputs), inputs.to(self.network.device)

    @contextmanager
    def _asking(self, batch: TokenBatch, part: slice, targets: Any, rows: int) -> Iterator[TextQuestion]:
        with (
            asking(
                self.loaded, selected(batch, part), targets, rows, self.passes.precision, choice=self.passes.output
            ) as question,
            torch.backends.cudnn.flags(enabled=False),  # its LSTMs have no gradient in evaluation mode
        ):
            yield question

    def _finished(self, maps: Tensor, question: TextQuestion, batch: TokenBatch) -> Tensor:
        real = question.batch.real
        return F.pad(torch.where(real, maps, 0), (0, batch.real.shape[1] - real.shape[1]))


@cache
def _settings_of(kind: type) -> tuple[str, ...]:
    """Name what the constructors of a class and its bases take by keyword alone."""
    constructors = [vars(base)["__init__"] for base in kind.__mro__[:-1] if "__init__" in vars(base)]
    every = [one for made in constructors for one in inspect.signature(made).parameters.values()]
    return tuple(dict.fromkeys(one.name for one in every if one.kind is one.KEYWORD_ONLY))


@contextmanager
def fixed_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Draw all random numbers of the block from a seed (libraries use the global stream), which is put back afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
