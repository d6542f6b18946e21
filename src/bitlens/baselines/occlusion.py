"""Occlusion: how far the score falls when a patch is covered, or a token removed (algorithms F2, F15)."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import ImageQuestion, TextModel, TextQuestion
from bitlens.baselines.changes import Removal
from bitlens.baselines.masking import Cover, Covering, Removing
from bitlens.core.passes import RunOptions
from bitlens.core.places import Places
from bitlens.data.passages import Unit, units_of
from bitlens.errors import SettingError, at_least, one_of_literal


@final
class Occlusion(Covering):
    """Give every patch of a grid without gaps or overlaps the fall of the score when it alone is covered.

    Zeiler and Fergus 2014. One pass for each patch, 784 for patches of 8 and 256 for patches of 14 in an image of 224 x 224.
    Where the image is no multiple of the patch, the last row and column of patches are smaller. Positive where the patch
    speaks for the target. In bfloat16 the small falls are rounded: maps correlate with float32's to 0.98 - 0.998 on three
    ImageNet networks.

    Patches are windows of a series and blocks of a volume; in a table, whose features have no neighbours, each feature is covered
    by itself.

    Args:
        model: the network.
        window: height and width of the patches, in pixels, or a number for each axis of places (for voxels that are no cubes);
            the method is called "occlusion-{window}".
        replacement: of what is covered: "mean-colour" (of each image, per channel; what degradation and the box metric
            were published with), "zero" (Sensitivity-n), or a number; in the values that the network takes.
        **run: as of `Baseline`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        window: int | Sequence[int] = 14,
        replacement: Cover = "mean-colour",
        **run: Unpack[RunOptions],
    ) -> None:
        super().__init__(model, replacement=replacement, **run)
        for side in (window,) if isinstance(window, int) else window:
            at_least(1, window=side)
        self.window = window if isinstance(window, int) else tuple(window)
        self.method = f"occlusion-{window if isinstance(window, int) else 'x'.join(map(str, window))}"

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W): every pixel of a patch has the patch's fall."""
        # Captum's Occlusion gives the same numbers, but builds each pass out of Python lists and whole-image
        # intermediates: on a CPU it takes 1.8 times as long for SqueezeNet as the few lines of `answers`.
        patches = patch_numbers(question.places, self.window).to(question.images.device)
        count = int(patches.max()) + 1

        def all_but_one(chunk: slice) -> Tensor:
            numbers = torch.arange(chunk.start, chunk.stop, device=patches.device)
            return patches != numbers.reshape(-1, 1, *[1] * patches.dim())

        covered = self.answers(question, count, all_but_one, question.score)
        fall = question.target.score(question.output)[:, None] - covered
        return fall[:, patches]


class _WithoutOne(Removing):
    """Each token has the fall of the score when its unit alone is removed, in equal shares with the unit's other tokens."""

    unit: Unit = "token"

    def maps(self, question: TextQuestion) -> Tensor:
        """Return maps (n, T)."""
        units = units_of(question.batch, self.unit).to(question.batch.real.device)
        counts = units.amax(1) + 1
        rows = torch.arange(len(units), device=units.device).repeat_interleave(counts)
        each = torch.cat([torch.arange(int(count), device=units.device) for count in counts])
        removed = units[rows] == each[:, None]
        left = question.without(removed, rows, self.removal)
        fall = (question.target.score(question.output).float()[rows] - left) / removed.sum(1)
        return torch.zeros(units.shape, device=units.device, dtype=torch.float32).index_add(
            0, rows, removed * fall[:, None]
        )


@final
class TextOcclusion(_WithoutOne):
    """Give every token the fall of the score when it alone is removed (Li et al., Understanding Neural Networks, 2016).

    One pass for each token. Positive where the token speaks for the target. For what it takes see `Removing`.
    """

    method = "occlusion"


@final
class LeaveOneOut(_WithoutOne):
    """Give every token, word or sentence the fall of the score when it alone is left out of the text, which closes up.

    One pass for each unit. Positive where it speaks for the target. Bits of a unit's tokens add up; so do these.

    Args:
        loaded: the network, its tokenizer, and the name of its word embedding.
        unit: what is left out as a whole: "token", "word" or "sentence".
        removal: "delete" lets the others move together, "replace" puts the mask token in each token's place.
        **run: as of `Baseline`.
    """

    method = "leave-one-out"

    def __init__(
        self, loaded: TextModel, *, unit: Unit = "word", removal: Removal = "delete", **run: Unpack[RunOptions]
    ) -> None:
        super().__init__(loaded, removal=removal, **run)
        self.unit = one_of_literal("unit", unit, Unit)


def patch_numbers(places: Places, window: int | Sequence[int]) -> Tensor:
    """Return the number of each place's patch, (H, W), (T,) or (D, H, W), row by row from 0; features of a table stand alone.

    Raises:
        SettingError: if the window has another number of sides than the places have axes.
    """
    sides = (window,) * len(places.size) if isinstance(window, int) else tuple(window)
    if len(sides) != len(places.size):
        raise SettingError(
            f"window={window!r} must be a whole number, or one for each of {len(places.size)} axes of places"
        )
    numbers = torch.zeros((), dtype=torch.long)
    for size, side in zip(places.size, sides, strict=True):
        one = 1 if places.unordered else side
        numbers = numbers[..., None] * -(-size // one) + torch.arange(size) // one
    return numbers
