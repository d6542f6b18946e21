"""Whether a network gives the same answer twice, and to a sample the same alone as beside others: maps rest on both."""

from collections.abc import Callable
from typing import Any

from bitlens.core.inputs import ModelInputs
from bitlens.errors import ModelError
from bitlens.probe.agreement import agree
from bitlens.probe.around import answer_of, pair_of


def check_behaviour(name: str, run: Callable[[ModelInputs], Any], inputs: ModelInputs) -> None:
    """Refuse a network whose passes do not repeat, or whose samples change each other's answers.

    Args:
        name: of the network, for errors.
        run: inputs → output, one pass.
        inputs: what it is given; two samples of it go through, and then the first alone.

    Raises:
        ModelError: if it does one or the other.
    """
    pair = inputs.select(slice(2)) if inputs.count > 1 else pair_of(inputs)
    together, alone = (answer_of(run(some)) for some in (pair, pair.select(slice(1))))
    if together is None or alone is None or together.shape[1:] != alone.shape[1:] or agree(together[:1], alone):
        return  # an answer that is no row for each sample (a matrix of similarities) cannot be compared
    apart = float((together[:1] - alone).abs().max() / together.abs().max())
    again = answer_of(run(pair))
    if not agree(together, again):
        raise ModelError(
            f"two passes of {name} over the same inputs do not repeat: they differ, by {apart:.1%} of the largest output. Turn "
            "off what it draws by chance in evaluation mode (dropout with training=True, perhaps)"
        )
    raise ModelError(
        f"{name} answers otherwise for a sample alone than beside another, by {apart:.1%} of the largest output, so noisy copies "
        "would change each other: batch norm needs running statistics (track_running_stats=True, filled in training)"
    )
