"""A question answered in a thread of its own, which tells what it does and can be stopped between two steps."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bitlens.app.answers import Watch
from bitlens.errors import SettingError
from bitlens.view.colours import Scale, dim, overlay

_FRAMES_APART = 0.25  # seconds; more often nobody sees, and drawing would cost more than the network
Frame = npt.NDArray[np.float32]
T = TypeVar("T")


class _StoppedError(Exception):
    """Stop of work whose answer nobody waits for any more."""


class Work(Generic[T]):
    """Begins at once.

    Args:
        answer: takes what it tells its doings to, and what it shows its maps to.
        ended: called when it has ended, however it did.
    """

    def __init__(
        self, answer: Callable[[Callable[[str], None], Watch], T], ended: Callable[[], None] = lambda: None
    ) -> None:
        self._news: queue.Queue[tuple[str, Frame | None] | None] = queue.Queue()
        self._stopped = threading.Event()
        self._found: list[Any] = []
        self._last = 0.0
        self._thread = threading.Thread(target=self._run, args=(answer, ended), daemon=True)
        self._thread.start()

    def news(self, seconds: float) -> Iterator[tuple[str, Frame | None]]:
        """Tell what is being done, with a picture (H, W, 3) of the map so far or None, until it is done.

        Raises:
            SettingError: if it takes longer than so many seconds; it is stopped then.
        """
        end = time.monotonic() + seconds
        while True:
            try:
                news = self._news.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                self.stop()
                raise SettingError(
                    f"this took longer than the {seconds:g} seconds that a question may take here: ask for fewer methods "
                    "or less work"
                ) from None
            if news is None:
                return
            yield news

    def result(self) -> T:
        """Return the answer; raises what the work raised."""
        self._thread.join()
        (found,) = self._found
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    def stop(self) -> None:
        """End it at its next sign of life."""
        self._stopped.set()

    def _run(self, answer: Callable[[Callable[[str], None], Watch], T], ended: Callable[[], None]) -> None:
        try:
            self._found.append(answer(self._tell, self._show))
        except Exception as error:
            self._found.append(error)
        finally:
            ended()
            self._news.put(None)

    def _tell(self, text: str) -> None:
        self._go_on()
        self._news.put((text, None))

    def _show(self, step: int, photo: Tensor, values: Tensor) -> None:
        self._go_on()
        now = time.monotonic()
        if now - self._last >= _FRAMES_APART:
            self._last = now
            bits = float(values.sum())
            self._news.put((f"step {step + 1}: {bits:,.0f} bits still pass", _frame(photo.numpy(), values.numpy())))

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError


def _frame(photo: Frame, values: Frame) -> Frame:
    """Return the map so far over the dimmed photo, in colours that end at its own maximum."""
    return overlay(dim(photo), values, Scale.over([values], "bits/pixel"))
