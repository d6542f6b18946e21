"""bitlens: which parts of an input a trained network uses for its decision, in bits.

Names are imported when they are first used, so that `import bitlens` does not wait for PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bitlens.version import __version__ as __version__

if TYPE_CHECKING:
    from bitlens.adapters import quantus_explain_func as quantus_explain_func
    from bitlens.attribution import Attribution as Attribution
    from bitlens.attribution import Evidence as Evidence
    from bitlens.bottlenecks.input import InputIBA as InputIBA
    from bitlens.bottlenecks.per_sample import IBA as IBA
    from bitlens.bottlenecks.readout import ReadoutIBA as ReadoutIBA
    from bitlens.bottlenecks.token_input import TokenInputIBA as TokenInputIBA
    from bitlens.bottlenecks.tokens import TokenIBA as TokenIBA
    from bitlens.errors import BitlensError as BitlensError
    from bitlens.methods import method as method
    from bitlens.models.load import load_model as load_model
    from bitlens.statistics import FeatureStatistics as FeatureStatistics

__all__ = [
    "IBA",
    "Attribution",
    "BitlensError",
    "Evidence",
    "FeatureStatistics",
    "InputIBA",
    "ReadoutIBA",
    "TokenIBA",
    "TokenInputIBA",
    "__version__",
    "load_model",
    "method",
    "metrics",
    "quantus_explain_func",
    "targets",
    "text",
]

_HOMES = {
    "IBA": "bitlens.bottlenecks.per_sample",
    "Attribution": "bitlens.attribution",
    "BitlensError": "bitlens.errors",
    "Evidence": "bitlens.attribution",
    "FeatureStatistics": "bitlens.statistics",
    "InputIBA": "bitlens.bottlenecks.input",
    "ReadoutIBA": "bitlens.bottlenecks.readout",
    "TokenIBA": "bitlens.bottlenecks.tokens",
    "TokenInputIBA": "bitlens.bottlenecks.token_input",
    "load_model": "bitlens.models.load",
    "method": "bitlens.methods",
    "quantus_explain_func": "bitlens.adapters",
}
_MODULES = ("metrics", "targets", "text")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(f"bitlens.{name}")
    raise AttributeError(f"module 'bitlens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
