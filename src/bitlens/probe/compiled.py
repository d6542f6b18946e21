"""The suffix as one compiled graph, for jobs so large that compiling (tens of seconds) pays for itself.

Modules, replays and casts are traced away once for each shape of noised features; what was recorded comes in as
arguments, so that the graph serves every batch of a job.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from bitlens.errors import SettingError
from bitlens.probe.plainly import compiling
from bitlens.probe.recording import Recording

_WORTH_IT = 3  # a shape that comes less often is not compiled


class Compiler:
    """Compiled suffixes of one network whose weights do not change meanwhile, by shape."""

    def __init__(self) -> None:
        self._seen: Counter[torch.Size] = Counter()
        self._graphs: dict[torch.Size, Callable[..., Any]] = {}

    def compiled(self, run: Callable[[Tensor], Any], recording: Recording) -> Callable[[Tensor], Any]:
        """Return the same as `run`, faster for shapes that come often.

        Args:
            run: z → output, the suffix of this recording, in whatever precision.
            recording: whose values `run` replays.

        Raises:
            SettingError: (from the result) if PyTorch cannot compile here.
        """

        def call(z: Tensor) -> Any:
            self._seen[z.shape] += 1
            if self._seen[z.shape] < _WORTH_IT:
                return run(z)
            copies = len(z) // recording.count
            leaves = recording.given(copies)
            try:
                if z.shape not in self._graphs:
                    self._graphs[z.shape] = _graph(run, recording, z.detach(), copies)
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
                with compiling():
                    return self._graphs[z.shape](z, *leaves)
            except Exception as error:
                first = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise SettingError(f"compile=True, but PyTorch cannot compile this network here: {first}") from error

        return call


def _graph(run: Callable[[Tensor], Any], recording: Recording, z: Tensor, copies: int) -> Callable[..., Any]:
    def pure(z: Tensor, *leaves: Tensor) -> Any:
        with recording.giving(copies, leaves):
            return run(z)

    with torch.no_grad():
        graph = make_fx(pure)(z, *recording.given(copies))
    # On a GPU the launches of a pass are recorded and replayed as one (CUDA graphs).
    mode = "reduce-overhead" if z.is_cuda else "default"
    compiled: Callable[..., Any] = torch.compile(graph, dynamic=False, mode=mode)
    return compiled
