"""The list of every metric by name: what it says, what it needs, what it costs. Evaluation and tables read this."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from bitlens.evaluation import scoring
from bitlens.evaluation.metric import Axes, Metric
from bitlens.evaluation.scored import Scored
from bitlens.evaluation.text.measures import TEXT_METRICS
from bitlens.methods.specs import Spec

__all__ = ["METRICS", "metric_named", "metric_settings", "ready_metric"]


def metric_named(name: str) -> Metric:
    """A metric for photos or for texts; their names differ."""
    return METRICS[name] if name in METRICS else TEXT_METRICS[name]


def metric_settings(spec: Spec) -> dict[str, Any]:
    """Every setting that a metric computes with, defaults included."""
    metric = metric_named(spec.name)
    parameters = inspect.signature(metric.compute).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return {**defaults, **metric.preset, **spec.settings}


def ready_metric(spec: Spec) -> Callable[[Any], Scored | None]:
    """The metric with its settings, ready to be computed."""
    return partial(metric_named(spec.name).compute, **metric_settings(spec))


_OBJECT = "boxes, or the exact mask of the object (region=mask)"
_DEGRADED = Axes(
    "share of the photo replaced",
    "probability, normalised (equation 9)",
    ("least relevant first (LeRF)", "most relevant first (MoRF)"),
    normalised=True,
)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *(
            Metric(
                name=f"degradation-{tile}",
                title=f"degradation {tile}x{tile}",
                summary="area between the curves of the target's probability, least and most relevant tiles replaced first",
                better="higher",
                range="about -1 to 1, chance 0",
                source="Schulz et al., ICLR 2020, section 4.4, equation 9",
                passes="197 forward",
                compute=scoring.degradation_score,
                preset={"tile": tile},
                axes=_DEGRADED,
            )
            for tile in (8, 14)
        ),
        Metric(
            name="insertion",
            title="insertion",
            summary="area under the curve of the target's probability as the highest pixels appear on the blurred photo",
            better="higher",
            range="0 to 1",
            source="Petsiuk et al., RISE (BMVC 2018); Zhang et al., NeurIPS 2021 (exact: step=10)",
            passes="448 forward, shared with deletion; step=10: 10,035",
            compute=scoring.insertion,
            axes=Axes("share of the pixels inserted", "probability", ("",)),
        ),
        Metric(
            name="deletion",
            title="deletion",
            summary="area under the curve of the target's probability as the highest pixels vanish",
            better="lower",
            range="0 to 1",
            source="Petsiuk et al., RISE (BMVC 2018); Zhang et al., NeurIPS 2021 (exact: step=10)",
            passes="448 forward, shared with insertion; step=10: 10,035",
            compute=scoring.deletion,
            axes=Axes("share of the pixels deleted", "probability", ("",)),
        ),
        *(
            Metric(
                name=f"sensitivity-n-{tile}",
                title=f"sensitivity-n, {what}",
                summary=f"correlation of a map's sum over random sets of {what} with what the score loses without them",
                better="higher",
                range="-1 to 1, chance 0",
                source="Ancona et al., ICLR 2018; sets as in Schulz et al., ICLR 2020 (sizes=input-iba:sets=200: Zhang et al.)",
                passes="1,500 to 1,600 forward for a photo, whatever the number of methods",
                compute=scoring.sensitivity,
                preset={"tile": tile},
                axes=Axes("pixels removed", "correlation", ("",), logarithmic=True),
            )
            for tile, what in ((8, "tiles of 8x8"), (1, "pixels"))
        ),
        Metric(
            name="bbox",
            title="box ratio",
            summary="share of the n highest pixels that lie in the boxes, which have n pixels; boxes up to 33 % of the photo",
            better="higher",
            range="0 to 1, chance is the area of the boxes",
            source="Schulz et al., ICLR 2020, section 4.3",
            passes="none",
            compute=scoring.bounding_box,
            needs=_OBJECT,
        ),
        Metric(
            name="ehr",
            title="effective heat ratio",
            summary="share of the heat above a threshold that lies in the boxes, over all thresholds; boxes up to 33 %",
            better="higher",
            range="0 to 1, depends on the maps' scale",
            source="Zhang et al., NeurIPS 2021 (InputIBA)",
            passes="none",
            compute=scoring.effective_heat,
            needs=_OBJECT,
        ),
        Metric(
            name="mass-inside",
            title="mass inside",
            summary="share of a map's positive values on the object",
            better="higher",
            range="0 to 1, chance is the area of the object",
            source="energy-based pointing game, Wang et al., Score-CAM (CVPRW 2020)",
            passes="none",
            compute=scoring.mass_inside,
            needs="exact mask of the object, or boxes (region=boxes)",
        ),
        Metric(
            name="pointing-game",
            title="pointing game",
            summary="whether the highest pixel lies on the object",
            better="higher",
            range="0 or 1, chance is the area of the object",
            source="Zhang et al., Top-down neural attention by excitation backprop (IJCV 2018)",
            passes="none",
            compute=scoring.pointing_game,
            needs="exact mask of the object, or boxes (region=boxes)",
        ),
        Metric(
            name="rank-auc",
            title="rank AUC",
            summary="how often a pixel of the object is higher than one outside",
            better="higher",
            range="0 to 1, chance 0.5",
            source="area under the ROC curve, with the object as ground truth",
            passes="none",
            compute=scoring.rank_auc,
            needs="exact mask of the object, or boxes (region=boxes)",
        ),
        Metric(
            name="sanity",
            title="SSIM under randomisation",
            summary="likeness of the maps when the network's layers lose what they learnt, the last ones first; mean over steps",
            better="lower",
            range="-1 to 1",
            source="Adebayo et al., NeurIPS 2018; as in Schulz et al., ICLR 2020, section 4.1",
            passes="a map, and what the method learns, for each step; a copy of the network for each is kept",
            compute=scoring.sanity,
            axes=Axes("random down to", "SSIM with the trained network's map", ("",), x_names=scoring.sanity_steps),
        ),
        Metric(
            name="restricted-top1",
            title="top-1 under noise",
            summary="how often the target comes first when only what the bottleneck lets pass gets through",
            better="higher",
            range="0 to 1",
            source="Schulz et al., ICLR 2020, table 4",
            passes="a map, 32 forward behind the layer",
            compute=scoring.top1,
            needs="a bottleneck as method",
        ),
        Metric(
            name="restricted-top5",
            title="top-5 under noise",
            summary="how often the target is among the first five, likewise",
            better="higher",
            range="0 to 1",
            source="Schulz et al., ICLR 2020, table 4",
            passes="none besides those of restricted-top1",
            compute=scoring.top5,
            needs="a bottleneck as method",
        ),
        Metric(
            name="information",
            title="bits per feature",
            summary="mean information that passes a feature of the layer",
            better="lower",
            range="0 up; little information is good only where the accuracy stays",
            source="Schulz et al., ICLR 2020, table 4",
            passes="none besides those of restricted-top1",
            compute=scoring.information,
            needs="a bottleneck as method",
        ),
    )
}
