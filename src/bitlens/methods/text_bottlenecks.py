"""The bottlenecks for texts: methods whose maps are in bits per token."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import Unpack

from bitlens.bottlenecks.input.texts import TokenInputIBA
from bitlens.bottlenecks.layered import LayeredTokenIBA
from bitlens.bottlenecks.token_statistics import TokenStatistics
from bitlens.bottlenecks.tokens import MaskForm, Objective, SpecialTokens, TokenIBA
from bitlens.core.passes import BottleneckOptions
from bitlens.errors import LayerError
from bitlens.models.load_text import default_text_layer, text_layers
from bitlens.models.loaded import Loaded

_BETA = 3.0  # measured on training reviews (docs/transformers)


def iba(
    loaded: Loaded,
    *,
    mask: MaskForm = "unit",
    layer: str = "",
    beta: float | None = None,
    steps: int = 10,
    noise_samples: int = 10,
    learning_rate: float = 1.0,
    special_tokens: SpecialTokens = "restricted",
    statistics: TokenStatistics | None = None,
    **run: Unpack[BottleneckOptions],
) -> TokenIBA:
    """Build the published recipe on a loaded network, with the layer, the price of a bit and the statistics that come with it.

    Args:
        loaded: the network and its tokenizer.
        mask: "token": one mask for each token; "unit": one for each hidden unit of each token.
        layer: where the bottleneck is; the network's own choice if not given.
        beta: weight of the information; the network's own choice if not given.
        steps: optimisation steps.
        noise_samples: noisy copies per step.
        learning_rate: of Adam.
        special_tokens: "restricted" like others, or "whole": they pass as they are and count nothing.
        statistics: of the layer; what comes with the network if not given, else call `fit_statistics`.
        **run: see `Passes`.

    Raises:
        LayerError: if the network has no such layer, or none is given for a network without a default.
    """
    name = layer or _own_layer(loaded)
    bottleneck = TokenIBA(
        loaded.model,
        name,
        mask=mask,
        objective="cross-entropy",
        beta=beta if beta is not None else 3.0 if run.get("keep") is not None else _price(loaded),
        steps=steps,
        noise_samples=noise_samples,
        learning_rate=learning_rate,
        initial_logit=5.0,
        antithetic=False,
        readout="last_forward",
        special_tokens=special_tokens,
        statistics=statistics or loaded.statistics.get(name),
        **run,
    )
    bottleneck.method = "iba"
    return bottleneck


def token_iba(
    loaded: Loaded,
    *,
    mask: MaskForm = "token",
    layer: str = "",
    objective: Objective = "log-odds",
    beta: float | None = None,
    steps: int = 10,
    noise_samples: int = 2,
    learning_rate: float = 1.0,
    initial_logit: float = 0.0,
    special_tokens: SpecialTokens = "restricted",
    statistics: Mapping[str, TokenStatistics] | None = None,
    **run: Unpack[BottleneckOptions],
) -> LayeredTokenIBA:
    """Build the settings that measured best, at several layers of a loaded network: see `LayeredTokenIBA` and docs/transformers.

    Args:
        loaded: the network and its tokenizer.
        mask: "token": one mask for each token; "unit": one for each hidden unit of each token.
        layer: dotted names with + between them; by default four in the first two thirds of the encoder, or the network's own
            choice where statistics come with it.
        objective: what is kept of a class, "log-odds" or "cross-entropy".
        beta: weight of the information; 3 if not given, or the network's own choice where statistics come with it.
        steps: optimisation steps.
        noise_samples: noisy copies per step, half of them with the negative noise of the others.
        learning_rate: of Adam.
        initial_logit: α at the start: 0 lets half of each token pass, 3 95 %.
        special_tokens: "restricted" like others, or "whole": they pass as they are and count nothing.
        statistics: of the layers by name; what comes with the network if not given, else call `fit_statistics`.
        **run: see `Passes`.

    Raises:
        LayerError: if the network has no such layer.
    """
    names = layer.split("+") if layer else [_own_layer(loaded)] if loaded.statistics else early_layers(loaded)
    known = statistics if statistics is not None else loaded.statistics
    return LayeredTokenIBA(
        loaded.model,
        names,
        mask=mask,
        objective=objective,
        beta=beta if beta is not None else _price(loaded) if loaded.statistics and run.get("keep") is None else _BETA,
        steps=steps,
        noise_samples=noise_samples,
        learning_rate=learning_rate,
        initial_logit=initial_logit,
        special_tokens=special_tokens,
        statistics=known if set(names) <= set(known) else None,
        **run,
    )


def _price(loaded: Loaded) -> float:
    return 1.0 if loaded.beta is None else loaded.beta


def _own_layer(loaded: Loaded) -> str:
    if loaded.layer is None:
        raise LayerError(f"{loaded.name} has no layer that suits by default: name one with layer=")
    return loaded.layer


def early_layers(loaded: Loaded) -> tuple[str, ...]:
    """Return four layers of a network, the first of six and the next three; its default where there are fewer than six."""
    own = text_layers(loaded.model)
    sixth = len(own) // 6
    return own[: 4 * sixth : sixth] if sixth else (_own_layer(loaded),)


def input_iba(
    loaded: Loaded, *, layer: str = "", statistics: Mapping[str, TokenStatistics] | None = None, **settings: Any
) -> TokenInputIBA:
    """Measure bits at the word embedding of a loaded network: see `TokenInputIBA`.

    Args:
        loaded: the network and its tokenizer.
        layer: of stage 1, where the whole text is read; by default two thirds up the network.
        statistics: of the layer and the embedding by name; what comes with the network if not given, else call
            `fit_statistics`.
        **settings: of `TokenInputIBA`; what is not given is what its `quality` says.

    Raises:
        LayerError: if the network has no such layer.
        SettingError: if a setting has a value that makes no sense.
    """
    place = layer or default_text_layer(loaded.model) or _own_layer(loaded)
    known = statistics if statistics is not None else loaded.statistics or None
    return TokenInputIBA(loaded.model, place, loaded.embedding, statistics=known, **settings)
