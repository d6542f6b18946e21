"""bitlens: which parts of an input a trained network uses for its decision, in bits.

Names are imported when they are first used, so that `import bitlens` does not wait for PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bitlens.core import shown as _shown
from bitlens.version import __version__ as __version__

if TYPE_CHECKING:
    from bitlens.bottlenecks.input.images import InputIBA as InputIBA
    from bitlens.bottlenecks.input.texts import TokenInputIBA as TokenInputIBA
    from bitlens.bottlenecks.per_sample import IBA as IBA
    from bitlens.bottlenecks.readout.readout import ReadoutIBA as ReadoutIBA
    from bitlens.bottlenecks.tokens import TokenIBA as TokenIBA
    from bitlens.core import targets as targets
    from bitlens.core.attribution import Attribution as Attribution
    from bitlens.core.evidence import Evidence as Evidence
    from bitlens.core.guarantee import Guarantee as Guarantee
    from bitlens.core.statistics import FeatureStatistics as FeatureStatistics
    from bitlens.errors import BitlensError as BitlensError
    from bitlens.explaining import explainer as text
    from bitlens.explaining.answers import AnswerExplainer as AnswerExplainer
    from bitlens.explaining.calibrating import calibrate as calibrate
    from bitlens.explaining.explainer import Explainer as Explainer
    from bitlens.explaining.one_line import default_layer as default_layer
    from bitlens.explaining.one_line import explain as explain
    from bitlens.methods import method as method
    from bitlens.methods.adapters import quantus_explain_func as quantus_explain_func
    from bitlens.models.load import load_model as load_model

__all__ = [
    "IBA",
    "AnswerExplainer",
    "Attribution",
    "BitlensError",
    "Evidence",
    "Explainer",
    "FeatureStatistics",
    "Guarantee",
    "InputIBA",
    "ReadoutIBA",
    "TokenIBA",
    "TokenInputIBA",
    "__version__",
    "calibrate",
    "default_layer",
    "explain",
    "load_model",
    "method",
    "metrics",
    "quantus_explain_func",
    "targets",
    "text",
]

_HOMES = {
    "IBA": "bitlens.bottlenecks.per_sample",
    "AnswerExplainer": "bitlens.explaining.answers",
    "Attribution": "bitlens.core.attribution",
    "BitlensError": "bitlens.errors",
    "Evidence": "bitlens.core.evidence",
    "Explainer": "bitlens.explaining.explainer",
    "FeatureStatistics": "bitlens.core.statistics",
    "Guarantee": "bitlens.core.guarantee",
    "InputIBA": "bitlens.bottlenecks.input.images",
    "ReadoutIBA": "bitlens.bottlenecks.readout.readout",
    "TokenIBA": "bitlens.bottlenecks.tokens",
    "TokenInputIBA": "bitlens.bottlenecks.input.texts",
    "calibrate": "bitlens.explaining.calibrating",
    "default_layer": "bitlens.explaining.one_line",
    "explain": "bitlens.explaining.one_line",
    "load_model": "bitlens.models.load",
    "method": "bitlens.methods",
    "quantus_explain_func": "bitlens.methods.adapters",
}
_MODULES = {"metrics": "bitlens.metrics", "targets": "bitlens.core.targets", "text": "bitlens.explaining.explainer"}


def _html(result: Any) -> str:
    from bitlens.view.notebook import attribution_html

    return attribution_html(result)


def _figure(result: Any, images: Any, spread: bool) -> Any:
    from bitlens.view.show import draw_attribution

    return draw_attribution(result, images, spread=spread)


_shown.html, _shown.figure = _html, _figure


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(_MODULES[name])
    raise AttributeError(f"module 'bitlens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
