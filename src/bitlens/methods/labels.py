"""How the labels of a data set are read for a network: by the names of its classes, and no more classes than it has."""

from collections.abc import Sequence

from bitlens.core.targets import logits_of
from bitlens.data.labels import Labels
from bitlens.errors import BitlensError
from bitlens.methods.building import grey_photo
from bitlens.models.loaded import Loaded
from bitlens.probe import Network
from bitlens.probe.modules import clean_pass


def labels_for(loaded: Loaded, classes: Sequence[str] | None = None) -> Labels:
    """Return how labels are read for a network.

    Args:
        loaded: the network.
        classes: the names of its classes, if they are better known than it knows them.
    """
    names = classes or loaded.classes
    return Labels(names) if names else Labels(count=_outputs(loaded))


def _outputs(loaded: Loaded) -> int | None:
    """Say how many classes a network without names tells apart, by a pass; None if it does not answer with classes."""
    network = Network(loaded.model)
    try:
        given = grey_photo(loaded) if loaded.kind == "image" else loaded.tokenizer(["a"]).to(network.device).inputs
        return logits_of(clean_pass(loaded.model, network.prepared(given))).shape[1]
    except (BitlensError, RuntimeError, ValueError):  # what is wrong the run itself will say
        return None
