"""What metrics share that change an input and watch the network: variants built on the device, few and full passes.

A variant is one selection between the original and its replacement, so whole passes are built at once, for all samples
of a group and several steps. Rows are copy-major: row b*n + i is a variant of sample i.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from bitlens.baselines.asking import Quantity, in_passes, one_each
from bitlens.baselines.masking import warn_of_features
from bitlens.core.inputs import ModelInputs
from bitlens.core.masks import blurred, smoothing_matrix
from bitlens.core.passes import Passes, in_precision, suffix_dtype
from bitlens.core.places import Places
from bitlens.core.targets import as_target, permuted_targets
from bitlens.errors import InputError, NotFiniteError, one_of
from bitlens.probe import Network, locating

T = TypeVar("T")
Answer: TypeAlias = Callable[[Tensor], Tensor]
"""Variants (b*n, ...), copy-major, to one number for each (b*n,)."""

Replacement: TypeAlias = Literal["mean", "zero", "blur"] | Tensor
"""What takes the place of pixels: each image's mean colour, zero (after normalisation: the data set's mean colour), the
image under a Gaussian of 29 pixels with σ = 15 along each axis, or given images (N, C, H, W) or (1, C, H, W). The features of a
table have neither a colour in common nor neighbours: "mean" and "blur" are zero there."""


@dataclass(frozen=True)
class ImageGroup:
    """Images that go through the network together, and what it is asked; or series, volumes, rows of a table.

    Channels come last, as in memory where convolutions want them so: variants need not be reordered for every pass.

    Attributes:
        places: of the inputs; (H, W) stands for them.
        images: (n, H, W, C), on the network's device.
        maps: (n, H, W), on the network's device.
        samples: which of all images these are.
        answer: variants of the images (b*n, H, W, C) to what the target says of each (b*n,).
        clean: (n,) the answer for the images themselves.
        rows: how many variants may go through the network at once.
    """

    places: Places
    images: Tensor
    maps: Tensor
    samples: slice
    answer: Answer
    clean: Tensor
    rows: int

    def answers(self, original: Tensor, replacement: Tensor, changed: Callable[[slice], Tensor], steps: int) -> Tensor:
        """Return what is answered at every step, (n, steps).

        Args:
            original: (n, ...) samples.
            replacement: what takes their place, of a shape that broadcasts to theirs.
            changed: for v of the steps, where; of a shape that broadcasts to (v, n, ...) and has v and n in full, or n = 1.
            steps: how many there are.
        """

        def ask(some: slice) -> Tensor:
            variants = torch.where(changed(some), replacement, original)
            return self.answer(variants.flatten(0, 1))

        return in_passes(ask, len(self.images), steps, self.rows)


def in_groups(
    model: nn.Module | Network,
    inputs: Any,
    targets: Any,
    maps: Tensor,
    measure: Callable[[ImageGroup], T],
    passes: Passes,
    progress: Callable[[int], None] | None,
    quantity: Quantity = "value",
) -> list[T]:
    """Measure images in groups that fit the memory; the network is left as it was.

    Args:
        model: the network; a `Network` keeps what it has learnt about inputs like these.
        inputs: (N, C, H, W) images, or a tuple or mapping of arguments of which the first tensor is the images; or series,
            volumes and tables.
        targets: as `bitlens.core.targets.as_target` takes them.
        maps: (N, H, W), a number for each place.
        measure: of one group, run without gradients.
        passes: how the network is run.
        progress: called with the number of images measured so far.
        quantity: the target's "value" (probability) or "score" (logit).

    Raises:
        InputError: if the inputs have no places that are known, or the maps are not finite or do not fit them.
        TargetError: if the targets do not fit the network's output.
        SettingError: if a setting makes no sense.
    """
    network = model if isinstance(model, Network) else Network(model)
    batch = network.prepared(inputs, targets)
    places = batch.placed("this metric")
    maps = _maps_for(batch.count, places, maps).to(network.device)
    rows = passes.rows(lambda: network.bytes_per_row(batch), network.device)
    dtype = suffix_dtype(passes.precision, batch.first, network.model)
    parts: list[T] = []
    start = 0
    while start < batch.count:
        samples = slice(start, start + _group_size(batch.count - start, rows))
        chosen = permuted_targets(targets, samples, batch.count)
        few = batch.select(samples)
        with (
            torch.autocast(network.device.type, enabled=False),  # `precision` alone decides
            torch.no_grad(),
            network.running(few, dtype) as run,
        ):
            ask = in_precision(lambda z, run=run: run(places.back(z)), dtype, few.first, places.layout)
            answer, clean = _question(network, ask, few, places, chosen, quantity)
            images = places.first(few.first).movedim(1, -1).contiguous()
            with locating(network.model, few, start.__add__):
                NotFiniteError.refuse("the answer", clean)
                parts.append(measure(ImageGroup(places, images, maps[samples], samples, answer, clean, rows)))
        start = samples.stop
        if progress is not None:
            progress(start)
    return parts


def _question(
    network: Network, ask: Callable[[Tensor], Any], inputs: ModelInputs, places: Places, target: Any, quantity: Quantity
) -> tuple[Answer, Tensor]:
    """Return what the target says of variants with channels last, and of the inputs themselves."""
    output = ask(places.first(inputs.first).clone())  # a network may overwrite what it is given
    asked = as_target(target, output, inputs.count, network.form(inputs, output))

    def read(changed: Any) -> Tensor:
        found: Tensor = getattr(asked, quantity)(changed)
        return asked.counted(found, output) if quantity == "value" else found

    clean = one_each("sample", read(output), inputs.count)
    return lambda variants: read(ask(variants.movedim(-1, 1))), clean


def _group_size(left: int, rows: int) -> int:
    """Say how many samples go together: a divisor of the rows, so that whole steps of all of them fill a pass."""
    return max(size for size in range(1, min(left, rows) + 1) if rows % size == 0)


def _maps_for(count: int, places: Places, maps: Tensor) -> Tensor:
    wanted = (count, *places.size)
    if tuple(maps.shape) != wanted:
        raise InputError(f"maps must have the inputs' samples and size, {wanted}; got {tuple(maps.shape)}")
    wrong = ~torch.isfinite(maps).flatten(1).all(1)
    if bool(wrong.any()):
        raise InputError(f"maps hold NaN or infinite values in sample {int(wrong.nonzero()[0])}: they cannot be ranked")
    return maps


def replaced(group: ImageGroup, replacement: Replacement, name: str = "replacement") -> Tensor:
    """Return what takes the place of a group's pixels, channels last, of a shape that broadcasts to its images.

    Args:
        group: the images.
        replacement: the setting that says it.
        name: of that setting, for errors.
    """
    if not isinstance(replacement, Tensor):
        made = one_of(name, replacement, REPLACEMENTS)
        if group.places.unordered and replacement != "zero":
            warn_of_features(name, replacement)
            made = REPLACEMENTS["zero"]
        return made(group.images)
    wanted = group.places.back(group.images[:1].movedim(-1, 1)).shape[1:]
    if replacement.shape[1:] != wanted:
        raise InputError(
            f"replacement must be inputs (N, {', '.join(map(str, wanted))}), got {tuple(replacement.shape)}"
        )
    own = replacement if len(replacement) == 1 else replacement[group.samples]
    if len(own) not in (1, len(group.images)):
        raise InputError(f"replacement must hold one image for each sample, or one for all; got {len(replacement)}")
    return group.places.first(own.to(group.images)).movedim(1, -1)


def _blurred(images: Tensor) -> Tensor:
    size = tuple(images.shape[1:-1])
    if min(size) < _BLUR // 2 + 1:
        raise InputError(f"inputs of {size} places are too small for a blur of {_BLUR}: choose another replacement")
    if len(size) != 2:
        matrices = [smoothing_matrix(length, _SIGMA, _BLUR // 2).to(images) for length in size]
        return blurred(images.movedim(-1, 1), matrices).movedim(1, -1).contiguous()
    from torchvision.transforms.functional import gaussian_blur

    picture: Tensor = gaussian_blur(images.permute(0, 3, 1, 2), [_BLUR, _BLUR], [_SIGMA, _SIGMA])
    return picture.permute(0, 2, 3, 1).contiguous()


_BLUR, _SIGMA = 29, 15.0
REPLACEMENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda images: images.mean(tuple(range(1, images.dim() - 1)), keepdim=True),
    "zero": lambda images: images.new_zeros([1] * images.dim()),
    "blur": _blurred,
}
