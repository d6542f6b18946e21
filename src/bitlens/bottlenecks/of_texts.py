"""What the bottlenecks of texts share: samples are texts, and statistics are of tokens."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from typing_extensions import Self

from bitlens.bottlenecks.grouped import GroupedMethod
from bitlens.bottlenecks.groups import Samples
from bitlens.bottlenecks.token_statistics import TokenStatistics, collect_token_statistics
from bitlens.core.proofs import MOST
from bitlens.probe.modules import call_of


class TextMethod(GroupedMethod):
    """A method that explains texts against statistics of what layers put out for their tokens."""

    @property
    @abstractmethod
    def layers(self) -> tuple[str, ...]:
        """Dotted names of all layers whose statistics are needed."""

    @property
    def proof(self) -> int:
        """Return more noises than for images, under each of which a text's label is kept or lost, so that few agree by chance."""
        return MOST // 2 if self.keep is None else MOST

    @abstractmethod
    def know(self, statistics: Mapping[str, TokenStatistics]) -> None:
        """Take statistics of `layers`, by name, that were made with this network."""

    def fit_statistics(
        self, batches: Iterable[Any], max_samples: int = 10_000, *, data: str = "", preprocessing: str = ""
    ) -> Self:
        """Learn what the layers put out for the tokens of texts like those to be explained; 1,000 texts are plenty.

        Each batch runs through the network once, however many layers there are.

        Args:
            batches: of texts: `TokenBatch`, or mappings as tokenizers of transformers give them.
            max_samples: stop at exactly this many texts.
            data: where the texts come from, kept with the statistics.
            preprocessing: how they were prepared, kept as well.

        Returns:
            This object.

        Raises:
            StatisticsError: if there is no text.
        """
        call = self.probe.call if call_of(self.probe.name) is None else None  # names that say a call say it themselves
        about = {"data": data, "preprocessing": preprocessing}
        self.know(
            collect_token_statistics(self.model, self.layers, batches, max_samples=max_samples, call=call, **about)
        )
        return self

    def check(self) -> None:
        """Begin in any case: what was not learnt is learnt of texts of chance, once it is known what stands around texts."""

    @abstractmethod
    def learn_without(self, samples: Samples) -> None:
        """Make statistics where there are none yet, without other texts, for texts like these."""

    def read(self, inputs: Any, targets: Any) -> Samples:
        """Read texts, and make statistics where there are none yet."""
        samples = super().read(inputs, targets)
        self.learn_without(samples)
        return samples

    def samples(self, inputs: Any) -> Samples:
        """Read texts."""
        return Samples.of_texts(inputs)
