"""A network with all that explaining with it takes: how it reads its inputs, its classes, the layer and settings that suit it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from bitlens.bottlenecks.token_statistics import TokenStatistics
from bitlens.core.outputs import OutputChoice
from bitlens.data.kinds import Form, Kind
from bitlens.data.preprocessing import Preprocessing
from bitlens.data.tokenizing import Tokenizer
from bitlens.errors import ModelError


@dataclass(frozen=True)
class Loaded:
    """A network, ready to be asked.

    Attributes:
        name: what it was asked for by.
        model: in evaluation mode; gives logits (N, classes), or an output with `logits`. It maps images (N, C, H, W), or takes
            the `inputs` of a batch of texts as keywords.
        reader: makes its inputs of photos or of texts.
        classes: the names of its outputs in their order, None where unknown.
        layer: where a bottleneck belongs unless the user says otherwise, None where unknown.
        embedding: of networks for texts the dotted name of the word embedding.
        beta: the price of information that suits the bottleneck there, None where unknown.
        statistics: of its layers, by name, where it comes with some (networks for texts).
        readout: the file of a readout that was trained for it, where it comes with one.
        learns_from: the data set that methods learn from unless the user names another, where one comes with it.
        output: what is known of the network's output that the network does not say itself (see `OutputForm`).
    """

    name: str
    model: nn.Module
    reader: Preprocessing | Tokenizer
    classes: tuple[str, ...] | None = None
    layer: str | None = None
    embedding: str = ""
    beta: float | None = None
    statistics: Mapping[str, TokenStatistics] = field(default_factory=dict)
    readout: Path | None = None
    learns_from: str | None = None
    output: OutputChoice = None

    @property
    def kind(self) -> Kind:
        """Return what kind of input it reads."""
        return "image" if isinstance(self.reader, Preprocessing) else "text"

    @property
    def form(self) -> Form | None:
        """Return what an input of it is, None of texts."""
        return self.reader.form if isinstance(self.reader, Preprocessing) else None

    @property
    def preprocess(self) -> Preprocessing:
        """Return what it wants done to a photo.

        Raises:
            ModelError: if it reads texts.
        """
        if not isinstance(self.reader, Preprocessing):
            raise ModelError(f"{self.name} reads texts, not photos: use `bitlens text`, or bitlens.Explainer")
        return self.reader

    @property
    def tokenizer(self) -> Tokenizer:
        """Return what cuts a text into its tokens.

        Raises:
            ModelError: if it reads photos.
        """
        if isinstance(self.reader, Preprocessing):
            raise ModelError(f"{self.name} reads photos, not texts: load it with kind='text' if it is one for texts")
        return self.reader
