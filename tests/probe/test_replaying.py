"""Which axis counts samples, which leaf is restricted, and what each call of a replayed pass does, in closed cases."""

import pytest
import torch
from torch import nn

from bitlens.probe.replaying import feature_slot, replay_script, sample_axes
from bitlens.probe.trace import Call


def _sizes(*shapes: tuple[int, ...] | None) -> list[torch.Size | None]:
    return [torch.Size(shape) if shape is not None else None for shape in shapes]


@pytest.mark.parametrize(
    ("once", "twice", "axes"),
    [
        ([(2, 5)], [(4, 5)], (0,)),
        ([(7, 2, 5)], [(7, 4, 5)], (1,)),
        ([(3, 5, 2)], [(3, 5, 4)], (2,)),
        ([(6, 5)], [(12, 5)], (0,)),  # several rows for each sample
        ([(5, 5), (2, 5)], [(5, 5), (4, 5)], (None, 0)),  # the first does not depend on the samples
        ([None, (2,)], [None, (4,)], (None, 0)),  # the first is no tensor
        ([()], [()], (None,)),
        ([], [], ()),
        ([(2, 5)], [(3, 5)], None),  # grows, but not with the samples
        ([(2, 5)], [(5, 5)], None),
        ([(4, 5)], [(2, 5)], None),
        ([(2, 2)], [(4, 4)], None),  # pairs of samples
        ([(2, 5)], [(4, 5, 1)], None),
        ([(2, 5)], [(20,)], None),
        ([(2, 5)], [(4, 5), (4, 5)], None),  # another number of tensors
        ([(2, 5), (2, 2)], [(4, 5), (4, 4)], None),  # one of them is enough
    ],
)
def test_the_axis_of_samples_is_the_one_that_doubles_with_them(
    once: list[tuple[int, ...] | None], twice: list[tuple[int, ...] | None], axes: tuple[int | None, ...] | None
) -> None:
    assert sample_axes(_sizes(*once), _sizes(*twice)) == axes


def test_the_first_leaf_that_counts_samples_is_restricted() -> None:
    assert [feature_slot(axes) for axes in ([0], [None, 0, 1], [1, 0], [None, None, 2])] == [0, 1, 0, 2]


def _call(parent: Call | None, module: nn.Module | None = None) -> Call:
    call = Call(module or nn.Identity(), 0, parent)
    if parent is not None:
        parent.children.append(call)
    return call


def test_what_ended_before_the_layer_began_is_given_and_the_rest_runs() -> None:
    """root: a, b (b1, layer, b2), a again, c; a was called before, and is called once more after the layer."""
    root = _call(None)
    a = _call(root)
    first = _call(root)
    _call(first)  # within what is given: nobody asks for it
    b = _call(root)
    b1 = _call(b)
    again = _call(b, a.module)
    layer = _call(b)
    b2 = _call(b)
    _call(root, a.module)
    c = _call(root)
    recorded, script = replay_script([root, b, layer])
    assert recorded == [a, first, b1, again]
    assert script == {
        root.module: ["run"],
        a.module: [0, 3],  # its third call is not in the script: it runs
        first.module: [1],
        b.module: ["run"],
        b1.module: [2],
        layer.module: ["splice"],
    }
    assert not {b2.module, c.module} & script.keys()


def test_earlier_calls_of_the_layer_itself_are_given() -> None:
    root = _call(None)
    early = _call(root)
    late = _call(root, early.module)
    _call(root, early.module)
    recorded, script = replay_script([root, late])
    assert recorded == [early]
    assert script == {root.module: ["run"], early.module: [0, "splice"]}
