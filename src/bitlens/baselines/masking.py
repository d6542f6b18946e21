"""What all methods share that take parts of an input away: of images covered by one colour, of texts removed."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import ImageQuestion, TextModel, in_passes
from bitlens.baselines.baseline import ImageBaseline, TextBaseline
from bitlens.baselines.changes import Removal
from bitlens.core.passes import Precision, SeedAndRows
from bitlens.errors import SettingError, one_of, warn_caller

Cover = Literal["mean-colour", "zero"] | float | Tensor
"""What covers: each image's mean, per channel; zero; a number; or one input as the network takes it, or a colour (C, 1, 1). The
features of a table have no colour in common, and each has a meaning of its own: "mean-colour" is zero there, which is said in a
warning; give the means (D,) of others."""

COPIES = 16
"""Rows for one sample. Hundreds of passes each are long: on a CPU a group, and a step of the progress, is one sample."""


def colour_of(question: ImageQuestion, replacement: Cover, name: str = "replacement") -> Tensor:
    """Return the colour (n, C, 1, 1) that covers parts of images (n, C, H, W), or what else covers them: (1, C, H, W).

    Args:
        question: the images, as the network takes them, normalised.
        replacement: "mean-colour" (each image's mean, per channel), "zero", a number for all channels, or one input.
        name: of the setting, for errors.
    """
    images, dims = question.images, question.places.dims
    if isinstance(replacement, Tensor):
        return question.as_input(name, replacement)
    if replacement == "mean-colour":
        if not question.places.unordered:
            return images.mean(dims, keepdim=True)
        warn_of_features(name, replacement)
    value = 0.0 if isinstance(replacement, str) else replacement
    return images.new_full((*images.shape[:2], *[1] * len(dims)), value)


def warn_of_features(name: str, chosen: str) -> None:
    """Say what takes the place of a table's features where something was chosen that images have and they do not."""
    warn_caller(
        f"{name} is {chosen!r}, which features of a table do not have in common: zero takes their place, the mean of "
        f"standardised features; say {name}='zero' if that is right, or give the means of others (D,)"
    )


def covered(images: Tensor, masks: Tensor, colour: Tensor) -> Tensor:
    """Return every image under every mask: (k·n, C, H, W), row b*n + i is image i under mask b.

    Args:
        images: (n, C, H, W).
        masks: (k, 1, H, W) for all images or (k, n, H, W), in [0, 1]: how much of the image is kept.
        colour: (n, C, 1, 1) what takes the place of the rest.
    """
    return torch.lerp(colour, images, masks[:, :, None].to(images.dtype)).flatten(0, 1)


class Covering(ImageBaseline):
    """A method that looks at the network's answers to covered images; it needs no gradients.

    On CPUs with bfloat16 instructions, bfloat16 takes 0.4 of the time of float32. RISE, LIME and KernelSHAP average over many
    passes: their maps correlate to 0.997 or more (three ImageNet networks); occlusion's to 0.98.

    Args:
        model: the network.
        replacement: of what is covered: "mean-colour" (of each image, per channel), "zero", or a number; in the values
            that the network takes, after normalisation.
        precision: of the network, as of `Baseline`.
        **run: as of `Baseline`.
    """

    copies = COPIES

    def __init__(
        self,
        model: nn.Module,
        *,
        replacement: Cover = "mean-colour",
        precision: Precision = "float32",
        **run: Unpack[SeedAndRows],
    ) -> None:
        super().__init__(model, **run)
        if isinstance(replacement, str):
            one_of("replacement", replacement, {"mean-colour": None, "zero": None})
        elif not isinstance(replacement, int | float | Tensor):
            raise SettingError(f"replacement must be 'mean-colour', 'zero' or a number, got {replacement!r}")
        self.replacement = replacement
        self.passes = replace(self.passes, precision=precision)

    def choices(self) -> dict[str, Any]:
        """Return what the constructor takes; a replacement that is an input by its fingerprint."""
        own, held = super().choices(), self.replacement
        return own | ({"replacement": f"image {fingerprint(held)}"} if isinstance(held, Tensor) else {})

    @torch.no_grad()
    def answers(
        self, question: ImageQuestion, count: int, masks: Callable[[slice], Tensor], read: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return what the network answers to all images under all masks: (n, count).

        Args:
            question: the images.
            count: how many masks there are.
            masks: the masks of a slice: (k, 1, H, W), or (k, n, H, W) if every image has its own.
            read: variants (R, C, H, W) → (R,): `question.score` or `question.value`.
        """
        images, colour = question.images, colour_of(question, self.replacement)
        return in_passes(lambda chunk: read(covered(images, masks(chunk), colour)), len(images), count, question.rows)


def fingerprint(image: Tensor) -> str:
    """Return 16 hexadecimal digits that differ between images whose numbers differ."""
    return hashlib.sha256(image.detach().double().cpu().contiguous().numpy().data).hexdigest()[:16]


class Removing(TextBaseline):
    """A method that looks at the network's answers to texts without some of their tokens; it needs no gradients.

    Args:
        loaded: the network, its tokenizer, and the name of its word embedding.
        removal: "replace" puts the mask token in a token's place, "delete" lets the others move together.
        precision: of the network, as of `Baseline`.
        **run: as of `Baseline`.
    """

    def __init__(
        self,
        loaded: TextModel,
        *,
        removal: Removal = "replace",
        precision: Precision = "float32",
        **run: Unpack[SeedAndRows],
    ) -> None:
        super().__init__(loaded, **run)
        self.removal: Removal = one_of("removal", removal, {"replace": "replace", "delete": "delete"})
        self.passes = replace(self.passes, precision=precision)
