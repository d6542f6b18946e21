"""Copies of the network that metrics ask in its place: fine-tuned on deletions, and kept beside the results.

An evaluation that goes on, here or elsewhere, asks the very same copy; a training that was cut short goes on as well.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from bitlens.errors import DataError, ModelError, SettingError
from bitlens.methods.teaching import Source
from bitlens.metrics.in_domain import FINE_TUNING, Deletion, in_domain
from bitlens.models.loaded import Loaded
from bitlens.models.weight_files import load_weights
from bitlens.probe import Network
from bitlens.probe.fingerprint import weights_hash
from bitlens.system.arrays import read_arrays, write_arrays
from bitlens.system.files import kept
from bitlens.training.examples import Photos
from bitlens.training.loop import Moment

_FORMAT = "bitlens.judge/1"


@dataclass(frozen=True)
class Judges:
    """Copies of one network.

    Attributes:
        loaded: the network.
        source: the samples that copies are fine-tuned on.
        folder: where they are kept.
        told: what is learnt, how many samples of how many were seen.
        seed: of deletions and of the order of samples.
    """

    loaded: Loaded
    source: Source
    folder: Path
    told: Callable[[str, int, int], None]
    seed: int
    _known: dict[tuple[Deletion, int], Network] = field(default_factory=dict, init=False)

    def knowing(self, deletion: Deletion, epochs: int) -> Network:
        """Return the copy that knows deletions of a kind, from so many epochs at most.

        Raises:
            TargetError: if the network does not tell classes apart.
            SettingError: if there are too few samples to learn from.
        """
        if (deletion, epochs) not in self._known:
            self._known[deletion, epochs] = Network(self._module(deletion, epochs), output=self.loaded.output)
        return self._known[deletion, epochs]

    def _module(self, deletion: Deletion, epochs: int) -> nn.Module:
        identity = self._identity(deletion, epochs)
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        place = self.folder / f"judge-{digest}.safetensors"
        found = kept(place, partial(self._load, identity=identity))
        if found is not None:
            return found
        checkpoint = place.with_suffix(".checkpoint")
        examples = Photos(self.source.chosen, self.loaded.preprocess)
        settings = replace(FINE_TUNING, epochs=epochs, batch=min(FINE_TUNING.batch, max(1, len(examples) // 2)))

        def told(now: Moment) -> None:
            done = (now.epoch - 1) * now.steps + now.step
            self.told("a judge that knows deletions", done * len(examples) // (now.steps * epochs), len(examples))

        network = Network(self.loaded.model, output=self.loaded.output)
        settings = replace(settings, seed=self.seed)
        made = in_domain(network, examples, deletion, settings, checkpoint=checkpoint, progress=told)
        apart = {name: value.clone() for name, value in made.state_dict().items()}  # weights that layers share, too
        write_arrays(place, apart, {"format": _FORMAT, "identity": json.dumps(identity)})
        checkpoint.unlink(missing_ok=True)
        return made

    def _load(self, place: Path, identity: Mapping[str, Any]) -> nn.Module:
        """Return the copy that a file holds (DataError where it is damaged, or of other samples or settings)."""
        _, held = read_arrays(place, "a judge", lambda metadata: metadata.get("format") == _FORMAT)
        if json.loads(held.get("identity", "null")) != identity:
            raise DataError(f"{place} belongs to other samples, deletions or weights: remove it")
        module = copy.deepcopy(self.loaded.model)
        try:
            load_weights(module, place)
        except ModelError as error:
            raise DataError(str(error)) from error
        return module

    def _identity(self, deletion: Deletion, epochs: int) -> dict[str, Any]:
        if self.loaded.kind != "image":
            raise SettingError("only networks that read photos, signals, volumes or tables are fine-tuned on deletions")
        samples = "".join(sample.fingerprint for sample in self.source.chosen)
        return {
            "weights": weights_hash(self.loaded.model),
            **deletion.identity(),
            **asdict(replace(FINE_TUNING, epochs=epochs, seed=self.seed)),
            "samples": hashlib.sha256(samples.encode()).hexdigest()[:16],
            "preprocessing": self.loaded.preprocess.description,
        }
