"""What modules say of their own output: which of its axes counts channels."""

from torch import nn

from bitlens.probe.trace import Call, Shapes, all_calls

_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.LocalResponseNorm,
)
_ELEMENT_BY_ELEMENT = (
    nn.modules.dropout._DropoutNd,
    *(
        nn.Identity,
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.ELU,
        nn.SiLU,
        nn.GELU,
        nn.Sigmoid,
        nn.Tanh,
        nn.Hardswish,
        nn.Mish,
    ),
)
_KEEPING = (nn.Linear, *_ELEMENT_BY_ELEMENT)
_CHANNELS_LAST = (nn.Linear, nn.Embedding, nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoderLayer)


def declared_channel(call: Call) -> int | None:
    """Return which axis of a call's first output counts channels, samples counted as an axis, if its modules say so.

    The module itself, or what comes before one that works element by element; else the last module within it whose output has
    the same shape. That one may have been followed by a change of axes which its shape does not show; so it counts only where
    no other axis is as long as the channels.
    """
    shape = call.shapes[0] if call.shapes else None
    if shape is None or len(shape) < 2:
        return None
    own = _channel_of(call.module, len(shape))
    if own is not None:
        return _known(call, own)
    if isinstance(call.module, _ELEMENT_BY_ELEMENT):
        before = _leaf_before(call)
        return declared_channel(before) if before is not None and before.shapes and before.shapes[0] == shape else None
    for inner in reversed(list(all_calls(call))):
        axis = _channel_of(inner.module, len(shape)) if inner.shapes and inner.shapes[0] == shape else None
        if axis is not None:
            return _known(inner, axis) if list(shape[1:]).count(shape[axis]) == 1 else None
    return None


def _known(call: Call, axis: int) -> int | None:
    """Return the axis that a module works along, or the one before it where it is tokens (N, T, D) given as (N, D, T).

    MLP-Mixer turns what a layer norm puts out; what others turn has channels on an axis that nobody says.
    """
    if not isinstance(call.module, nn.Linear) or axis != 2:
        return axis
    before = _leaf_before(call)
    while before is not None and isinstance(before.module, _KEEPING) and _first(before.shapes) == _first(call.given):
        call, before = before, _leaf_before(before)
    given = _first(call.given)
    if before is None or len(given) != 3 or given[1] == given[2]:
        return axis
    if _first(before.shapes) != (given[0], given[2], given[1]):
        return axis
    said = declared_channel(before)
    return axis if said == 1 else None if said is None else axis - 1


def _first(shapes: Shapes) -> tuple[int, ...]:
    return tuple(shapes[0]) if shapes and shapes[0] is not None else ()


def _leaf_before(call: Call) -> Call | None:
    """Return the last call of a module without others in it that ended before this one began."""
    root = call
    while root.parent is not None:
        root = root.parent
    before = None
    for other in all_calls(root):
        if other is call:
            return before
        before = other if not other.children else before
    return None


def _channel_of(module: nn.Module, axes: int) -> int | None:
    if isinstance(module, _CHANNELS_FIRST):
        return 1
    # Subclasses of layer norm move axes (torchvision's and timm's LayerNorm2d).
    return axes - 1 if isinstance(module, _CHANNELS_LAST) or type(module) is nn.LayerNorm else None
