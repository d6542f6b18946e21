"""Find a layer, keep what it puts out, and run only what comes after it. The only room that touches a user's module.

A module call that ended before the layer's call began cannot depend on what the layer puts out. Its output is recorded
once and replayed, at any number of noisy copies, in every later pass; only the modules that enclose the layer and those
that come after it run again. This needs no tracing, and holds for skip connections that cross the layer.

It is checked, never assumed: before a network is replayed for the first time, and again for every recorded batch, the
replayed pass is compared with the full one. Where they differ the whole network runs instead (`Probe.mode`), with a
warning.
"""

from bitlens.probe.compiled import Compiler
from bitlens.probe.diagnosis import locating
from bitlens.probe.modules import find_layer, frozen
from bitlens.probe.network import Network
from bitlens.probe.probe import Probe
from bitlens.probe.recording import Recording
from bitlens.probe.several import layer_features
from bitlens.probe.stages import stages_behind
from bitlens.probe.watch import Culprit, first_not_finite, watching

__all__ = [
    "Compiler",
    "Culprit",
    "Network",
    "Probe",
    "Recording",
    "find_layer",
    "first_not_finite",
    "frozen",
    "layer_features",
    "locating",
    "stages_behind",
    "watching",
]
