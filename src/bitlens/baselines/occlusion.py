"""Occlusion: how far the score falls when a patch is covered, or a token removed (algorithms F2, F15)."""

from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from bitlens.baselines.asking import ImageQuestion, TextModel, TextQuestion
from bitlens.baselines.changes import Removal
from bitlens.baselines.masking import Cover, Covering, Removing
from bitlens.core.passes import RunOptions
from bitlens.data.passages import Unit, units_of
from bitlens.errors import at_least, one_of_literal


@final
class Occlusion(Covering):
    """Give every patch of a grid without gaps or overlaps the fall of the score when it alone is covered.

    Zeiler and Fergus 2014. One pass for each patch, 784 for patches of 8 and 256 for patches of 14 in an image of 224 x 224.
    Where the image is no multiple of the patch, the last row and column of patches are smaller. Positive where the patch
    speaks for the target. In bfloat16 the small falls are rounded: maps correlate with float32's to 0.98 - 0.998 on three
    ImageNet networks.

    Args:
        model: the network.
        window: height and width of the patches, in pixels; the method is called "occlusion-{window}".
        replacement: of what is covered: "mean-colour" (of each image, per channel; what degradation and the box metric
            were published with), "zero" (Sensitivity-n), or a number; in the values that the network takes.
        **run: as of `Baseline`.
    """

    def __init__(
        self, model: nn.Module, *, window: int = 14, replacement: Cover = "mean-colour", **run: Unpack[RunOptions]
    ) -> None:
        super().__init__(model, replacement=replacement, **run)
        at_least(1, window=window)
        self.window = window
        self.method = f"occlusion-{window}"

    def maps(self, question: ImageQuestion) -> Tensor:
        """Return maps (n, H, W): every pixel of a patch has the patch's fall."""
        # Captum's Occlusion gives the same numbers, but builds each pass out of Python lists and whole-image
        # intermediates: on a CPU it takes 1.8 times as long for SqueezeNet as the few lines of `answers`.
        patches, count = _patches(question.images, self.window)

        def all_but_one(chunk: slice) -> Tensor:
            numbers = torch.arange(chunk.start, chunk.stop, device=patches.device)
            return (patches != numbers[:, None, None])[:, None]

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
        return torch.zeros(units.shape, device=units.device).index_add(0, rows, removed * fall[:, None])


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


def _patches(images: Tensor, window: int) -> tuple[Tensor, int]:
    """Return the number of each pixel's patch (H, W), row by row from 0, and how many patches there are."""
    rows, columns = (torch.arange(size, device=images.device) // window for size in images.shape[2:])
    across = -(-images.shape[3] // window)
    return rows[:, None] * across + columns, across * -(-images.shape[2] // window)
