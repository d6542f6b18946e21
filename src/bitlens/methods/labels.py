"""Whether names and photos fit a network: names of its outputs, labels of data sets, and what preprocessing makes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bitlens.core.outputs import OutputForm
from bitlens.data.datasets import open_dataset
from bitlens.data.labels import Labels
from bitlens.errors import BitlensError, DataError, ModelError, SettingError
from bitlens.methods.building import grey_photo
from bitlens.models.loaded import Loaded
from bitlens.probe import Network
from bitlens.probe.modules import clean_pass

_SHOWN = 4


def with_classes(loaded: Loaded, names: Sequence[str] | None) -> Loaded:
    """Return the network with the names that a person gave its outputs, or as it is for None.

    Raises:
        SettingError: if there are more or fewer names than outputs.
    """
    if names is None:
        return loaded
    count = _outputs(loaded)
    if (
        count is not None and len(names) != count and (count, len(names)) != (2, 1)
    ):  # one column is one value, or two classes
        raise SettingError(
            f"there are {len(names)} names of classes ({', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}), but "
            f"{loaded.name} has {count} outputs: give --classes one name for each, in their order"
        )
    return replace(loaded, classes=tuple(names))


def labels_for(loaded: Loaded) -> Labels:
    """Return how labels are read for a network: by the names of its classes if it has some, else as so many numbers."""
    return Labels(loaded.classes) if loaded.classes else Labels(count=_outputs(loaded))


def labels_in(data: str, loaded: Loaded, photos: Sequence[Path]) -> dict[Path, int]:
    """Read what photos are off a data set, by their files in full.

    Args:
        data: name of the data set.
        loaded: the network whose classes labels are.
        photos: files that labels are wanted of.

    Raises:
        DataError: if the data set cannot be read, or labels none of the photos.
    """
    wanted = {path.resolve() for path in photos}
    samples = ((sample.path, sample.label) for sample in open_dataset(data, labels_for(loaded)))
    known = {path.resolve(): label for path, label in samples if path is not None and label is not None}
    found = {path: label for path, label in known.items() if path in wanted}
    if not found:
        raise DataError(
            f"{data} labels none of the {len(wanted)} photos: name the table that lists these very files, or the folder whose "
            "subfolders are called by classes"
        )
    return found


def _outputs(loaded: Loaded) -> int | None:
    """Say how many classes a network tells apart, by a pass; None if it does not answer with classes."""
    network = Network(loaded.model, output=loaded.output)
    try:
        given = grey_photo(loaded) if loaded.kind == "image" else loaded.tokenizer(["a"]).to(network.device).inputs
        answer = clean_pass(loaded.model, network.prepared(given))
        return OutputForm.chosen(loaded.output)[0].scores(answer).shape[1]
    except (BitlensError, RuntimeError, ValueError):  # what is wrong the run itself will say
        return None


def check_reading(loaded: Loaded) -> None:
    """Refuse a network that came without preprocessing and cannot take photos as the usual one makes them.

    Raises:
        ModelError: if that is so; says what to return.
    """
    if loaded.kind == "text" or not loaded.preprocess.usual:
        return
    photo = grey_photo(loaded)
    network = Network(loaded.model, output=loaded.output)
    try:
        clean_pass(loaded.model, network.prepared(photo))
    except BitlensError as error:
        shape, reason = tuple(photo.shape[1:]), str(error).partition(": give inputs")[0]
        raise ModelError(
            f"{loaded.name} came without preprocessing, so that photos reach it as {shape}, which it cannot take ({reason}): let "
            "the callable return (module, preprocess), where preprocess turns a PIL image into the tensor that the network wants"
        ) from error
