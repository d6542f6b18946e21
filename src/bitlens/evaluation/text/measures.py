"""The list of every metric for texts by name; see `bitlens.evaluation.measures`."""

from bitlens.evaluation.metric import Axes, Metric
from bitlens.evaluation.text import scoring

__all__ = ["TEXT_METRICS"]

_REMOVED = Axes(
    "share of the tokens removed",
    "probability of the target",
    ("least relevant first (LeRF)", "most relevant first (MoRF)"),
)

TEXT_METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *(
            Metric(
                name=f"removal-{mode}",
                title=f"removal of tokens ({mode}d)",
                summary=f"area between the curves of the target's probability, least and most relevant tokens {mode}d first",
                better="higher",
                range="about -1 to 1, chance 0",
                source="Jiang et al., EMNLP Findings 2020; both orders: Schulz et al., ICLR 2020 (normalise=set: equation 9)",
                passes="20 forward",
                compute=scoring.removal,
                preset={"mode": mode},
                axes=_REMOVED,
            )
            for mode in ("delete", "replace")
        ),
        Metric(
            name="insertion-tokens",
            title="insertion of tokens",
            summary="area under the curve of the target's probability as the highest tokens appear among mask tokens",
            better="higher",
            range="0 to 1",
            source="Zhang et al., NeurIPS 2021 (theirs: step=10; their code: step=2:limit=0.4)",
            passes="22 forward, shared with deletion-tokens",
            compute=scoring.insertion,
            axes=Axes("share of the tokens inserted", "probability", ("",)),
        ),
        Metric(
            name="deletion-tokens",
            title="deletion of tokens",
            summary="area under the curve of the target's probability as mask tokens take the place of the highest tokens",
            better="lower",
            range="0 to 1",
            source="Zhang et al., NeurIPS 2021 (theirs: step=10; their code: step=2:limit=0.4)",
            passes="22 forward, shared with insertion-tokens",
            compute=scoring.deletion,
            axes=Axes("share of the tokens replaced", "probability", ("",)),
        ),
        Metric(
            name="sensitivity-n-tokens",
            title="sensitivity-n, tokens",
            summary="correlation of a map's sum over random shares of the tokens with what the score loses without them",
            better="higher",
            range="-1 to 1, chance 0",
            source="Ancona et al., ICLR 2018; shares as in Zhang et al., NeurIPS 2021, without the whole text",
            passes="901 forward for a text, whatever the number of methods",
            compute=scoring.sensitivity,
            axes=Axes("share of the tokens replaced", "correlation", ("",)),
        ),
    )
}
