"""Whether a network gives the same answer twice, and to a sample the same alone as beside others: maps rest on both."""

import warnings
from typing import Any

from torch import nn

from bitlens.core.inputs import ModelInputs
from bitlens.errors import BitlensWarning, ModelError
from bitlens.probe.agreement import agree
from bitlens.probe.around import supposed_answer
from bitlens.probe.modules import clean_pass


def check_behaviour(model: nn.Module, two: ModelInputs, output: Any) -> None:
    """Refuse a network whose passes do not repeat, and warn of one whose samples change each other's answers.

    Args:
        model: the network, frozen.
        two: samples, of which the first goes through alone.
        output: what it gave for both.

    Raises:
        ModelError: if its passes do not repeat.
    """
    name = type(model).__name__
    together, alone = supposed_answer(output), supposed_answer(clean_pass(model, two.select(slice(1))))
    if together is None or alone is None or together.shape[1:] != alone.shape[1:] or agree(together[:1], alone):
        return  # an answer that is no row for each sample (a matrix of similarities) cannot be compared
    apart = float((together[:1] - alone).abs().max() / together.abs().max())
    again = supposed_answer(clean_pass(model, two))
    if not agree(together, again):
        raise ModelError(
            f"two passes of {name} over the same inputs do not repeat: they differ, by {apart:.1%} of the largest output. Turn "
            "off what it draws by chance in evaluation mode (dropout with training=True, perhaps)"
        )
    text = (
        f"{name} answers otherwise for a sample alone than beside another, by {apart:.1%} of the largest output, so maps depend "
        "on what they are made beside: batch norm without running statistics, or quantisation by batch, does so"
    )
    warnings.warn(text, BitlensWarning, stacklevel=6)
