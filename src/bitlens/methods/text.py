"""The list of every method for texts by name: bottlenecks in bits per token, and what they are compared with."""

import difflib
from typing import Any

from bitlens.baselines.text.attention import TextAttentionRollout, TextGradientAttentionRollout
from bitlens.baselines.text.gradient import TextGradientXInput, TextIntegratedGradients, TextSaliency
from bitlens.baselines.text.occlusion import TextOcclusion
from bitlens.baselines.text.random import TextRandom
from bitlens.baselines.text.surrogate import TextKernelSHAP, TextLIME
from bitlens.errors import SettingError
from bitlens.methods.entry import Method, MethodEntry
from bitlens.methods.text_bottlenecks import TEXT_BOTTLENECKS
from bitlens.models.load_text import LoadedText

__all__ = ["TEXT_METHODS", "text_method"]

_TRANSFORMERS = "transformers with attention between all tokens (BERT, RoBERTa, DistilBERT, DeBERTa, ELECTRA, ...)"

TEXT_METHODS: dict[str, MethodEntry] = {
    entry.name: entry
    for entry in (
        *TEXT_BOTTLENECKS,
        MethodEntry(
            name="random",
            summary="all tokens in random order: what any method must beat",
            paper="Jiang et al., Inserting Information Bottlenecks for Attribution in Transformers (EMNLP Findings 2020)",
            unit="score",
            passes="1 full forward",
            build=TextRandom,
        ),
        MethodEntry(
            name="saliency",
            summary="the length of the gradient at each token's embedding",
            paper="Li et al., Visualizing and Understanding Neural Models in NLP (NAACL 2016)",
            unit="score",
            passes="2 full forward, 1 backward",
            build=TextSaliency,
        ),
        MethodEntry(
            name="gradient-x-input",
            summary="the gradient times the embedding, summed over its dimensions",
            paper="Shrikumar et al., Not Just a Black Box (2016)",
            unit="score",
            passes="2 full forward, 1 backward",
            build=TextGradientXInput,
            signed=True,
        ),
        MethodEntry(
            name="integrated-gradients",
            summary="the gradients between a text of nothing and this one, mean, times their difference",
            paper="Sundararajan et al., Axiomatic Attribution for Deep Networks (ICML 2017)",
            unit="score",
            passes="52 full forward, 50 backward",
            build=TextIntegratedGradients,
            signed=True,
        ),
        MethodEntry(
            name="occlusion",
            summary="how far the score falls without a token",
            paper="Li et al., Understanding Neural Networks through Representation Erasure (2016)",
            unit="score",
            passes="1 full forward, 1 for each token",
            build=TextOcclusion,
            signed=True,
        ),
        MethodEntry(
            name="lime",
            summary="what each token adds to the score near this text, by a linear model",
            paper="Ribeiro et al., Why Should I Trust You? (KDD 2016)",
            unit="score",
            passes="501 full forward",
            build=TextLIME,
            signed=True,
        ),
        MethodEntry(
            name="kernel-shap",
            summary="the Shapley value of each token, by a linear model",
            paper="Lundberg & Lee, A Unified Approach to Interpreting Model Predictions (NeurIPS 2017)",
            unit="score",
            passes="503 full forward",
            build=TextKernelSHAP,
            signed=True,
        ),
        MethodEntry(
            name="attention-rollout",
            summary="what of each token the attention of all layers brings to what the head reads",
            paper="Abnar & Zuidema, Quantifying Attention Flow in Transformers (ACL 2020)",
            unit="score",
            passes="3 full forward, 1 backward behind the last attention",
            build=TextAttentionRollout,
            supports=_TRANSFORMERS,
        ),
        MethodEntry(
            name="gradient-attention-rollout",
            summary="attention rollout, each head weighted by what it does for the score",
            paper="Chefer et al., Generic Attention-Model Explainability (ICCV 2021)",
            unit="score",
            passes="3 full forward, 1 backward",
            build=TextGradientAttentionRollout,
            supports=_TRANSFORMERS,
        ),
    )
}


def text_method(name: str, loaded: LoadedText, **settings: Any) -> Method:
    """A method for texts by name, ready to explain a `TokenBatch`; what it must learn, it has still to learn.

    Args:
        name: one of `TEXT_METHODS`.
        loaded: the network with its tokenizer.
        **settings: what the method takes besides; what is not named is what suits the network.

    Raises:
        SettingError: if there is no such method, or a setting has a value that makes no sense.
        LayerError: if the network has no such layer, or none that suits by default.
    """
    if name not in TEXT_METHODS:
        close = difflib.get_close_matches(name, TEXT_METHODS, n=3) or list(TEXT_METHODS)
        raise SettingError(f"there is no method {name!r} for texts; did you mean {' or '.join(map(repr, close))}?")
    return TEXT_METHODS[name].build(loaded, **settings)
