"""What the list of methods says of each. Reading it imports no network library; building a method does."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from bitlens.data.kinds import Kind
from bitlens.errors import SettingError
from bitlens.methods.settings import Listed, settings_in, settings_of

if TYPE_CHECKING:
    from bitlens.core.attribution import Attribution
    from bitlens.methods.lessons import Lesson


@cache
def _in_the_file() -> dict[tuple[str, str], Listed]:
    return settings_in("methods")


class Method(Protocol):
    """A method: all that turns inputs and targets into an attribution."""

    def explain(self, inputs: Any, targets: Any = None) -> "Attribution":
        """Explain a batch; see the method's own documentation for what else it takes."""


@dataclass(frozen=True)
class MethodEntry:
    """One method of the list.

    Attributes:
        name: as used everywhere; methods for images and for texts may share it.
        kind: what the networks read.
        summary: one line.
        paper: where it comes from.
        unit: of its maps.
        passes: forward and backward passes of (a part of) the network for one input, with default settings.
        builder: module and name of the class or function that builds it.
        preset: settings of this entry that differ from the defaults.
        needs_layer: whether the settings must name a layer.
        learns: what it must learn on other inputs first: "statistics", "patterns", "weights" (of a readout), or nothing.
        signed: whether the sign of its scores means something (evidence for and against).
        supports: on which networks it works.
    """

    name: str
    kind: Kind
    summary: str
    paper: str
    unit: str
    passes: str
    builder: str
    preset: Mapping[str, Any] = field(default_factory=dict)
    needs_layer: bool = False
    learns: str = ""
    signed: bool = False
    supports: str = "any network"

    @cached_property
    def build(self) -> Callable[..., Any]:
        """Build the method from a network (for texts a loaded one) and settings."""
        module, _, name = self.builder.partition(":")
        found: Callable[..., Any] = getattr(import_module(f"bitlens.{module}"), name)
        return partial(found, **self.preset) if self.preset else found

    def made(self, *arguments: Any, **settings: Any) -> Any:
        """Build the method.

        Raises:
            SettingError: if it has no such setting.
        """
        try:
            return self.build(*arguments, **settings)
        except TypeError as error:
            wrong = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if wrong is None or wrong[1] not in settings or wrong[1] in self.listed.settings:
                raise
            raise SettingError(f"{self.name} has no setting {wrong[1]!r}; {self._nearest(wrong[1])}") from error

    def _nearest(self, name: str) -> str:
        known = list(self.listed.settings)
        close = difflib.get_close_matches(name, known, n=3)
        return f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(known) or 'none'}"

    @cached_property
    def listed(self) -> Listed:
        """Settings that it takes; of a method of the list without building it."""
        return _in_the_file().get((self.kind, self.name)) or settings_of(self.build)

    @property
    def lesson(self) -> "Lesson | None":
        """Return how it learns what it must; None for nothing."""
        from bitlens.methods.lessons import LESSONS

        return LESSONS[self.kind, self.learns] if self.learns else None
