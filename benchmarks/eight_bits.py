"""Whether convolutions in eight bits would make passes cheaper on this CPU: a table of the shapes behind ResNet-50's `layer2`.

    python benchmarks/eight_bits.py

Milliseconds of one thread, medians: a forward convolution of bfloat16 with packed weights, as bitlens runs it, one in eight bits,
and that one with what it needs besides: bfloat16 rounded to eight bits before it and back after. Eight bits have no gradient, so
of a pass there and back the way there alone could run so.
"""

import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bitlens.probe.packing import PackedConvolution

SHAPES = ((256, 256, 3, 14), (1024, 256, 1, 14), (256, 1024, 1, 14), (512, 512, 3, 7), (512, 2048, 1, 7))
ROWS, TURNS, STEP, ZERO = 16, 9, 0.02, 64


def taken(run: Callable[[], Tensor]) -> float:
    """Return the median milliseconds of the processor."""
    run()
    found = []
    for _ in range(TURNS):
        begun = time.process_time()
        run()
        found.append(1000 * (time.process_time() - begun))
    return statistics.median(found)


def row_of(inward: int, outward: int, width: int, side: int) -> list[float]:
    """Return what one shape takes."""
    x = torch.randn(ROWS, inward, side, side).to(torch.bfloat16, memory_format=torch.channels_last)
    module = nn.Conv2d(inward, outward, width, padding=width // 2).to(memory_format=torch.channels_last)
    weight, bias = module.weight.detach(), module.bias.detach()
    usual = PackedConvolution(module, weight.bfloat16(), bias.bfloat16())
    steps = weight.abs().amax((1, 2, 3)).double() / 127
    rounded = torch.quantize_per_channel(weight, steps, torch.zeros(outward, dtype=torch.long), 0, torch.qint8)
    packed = torch.ops.quantized.conv2d_prepack(rounded, bias, [1, 1], [width // 2] * 2, [1, 1], 1)
    ready = torch.quantize_per_tensor(x.float(), STEP, ZERO, torch.quint8)

    def converted() -> Tensor:
        there = torch.quantize_per_tensor(x.float(), STEP, ZERO, torch.quint8)
        return torch.ops.quantized.conv2d(there, packed, STEP, ZERO).dequantize().bfloat16()

    return [
        taken(lambda: usual(x)),
        taken(lambda: torch.ops.quantized.conv2d(ready, packed, STEP, ZERO)),
        taken(converted),
    ]


def main() -> None:
    """Measure and print."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.backends.quantized.engine = "onednn"
    print(
        "| channels in, out | kernel | places | bfloat16 | eight bits | with rounding there and back |\n"
        + "|---" * 6
        + "|"
    )
    with torch.no_grad():
        for inward, outward, width, side in SHAPES:
            cells = (f"{value:.1f} ms" for value in row_of(inward, outward, width, side))
            print(f"| {inward}, {outward} | {width} x {width} | {side} x {side} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
