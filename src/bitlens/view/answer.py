"""What a network was asked about a sample, what it says, and whether that is right: in the words of cards and tables."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """Answer of a network about one sample.

    Attributes:
        asked: what the map is about: usually the name of a class.
        probability: of what was asked about, None where that is no probability or not known.
        predicted: the class that the network names, empty where it names none or that is not known.
        confidence: probability of that class, None where it is not known.
        label: what the sample is, empty where that is not known.
    """

    asked: str
    probability: float | None = None
    predicted: str = ""
    confidence: float | None = None
    label: str = ""

    @property
    def heading(self) -> str:
        """Say what the map is about, with its probability."""
        how = "" if not self.predicted else "predicted " if self.predicted == self.asked else "asked about "
        return f"{how}{_with(self.asked, self.probability)}"

    @property
    def besides(self) -> list[str]:
        """Say what else is known: what the network says where something else was asked about, and what is right."""
        other = self.predicted not in ("", self.asked)
        said = [f"the network predicts {_with(self.predicted, self.confidence)}"] if other else []
        return [*said, f"label {self.label}: {'right' if self.right else 'wrong'}"] if self.right is not None else said

    @property
    def right(self) -> bool | None:
        """Say whether the network names what the sample is; None where either is not known."""
        return self.predicted == self.label if self.predicted and self.label else None

    @property
    def classes(self) -> list[str]:
        """List the classes by which one finds the sample."""
        return list(dict.fromkeys(name for name in (self.predicted, self.asked, self.label) if name))


def named(target: str) -> str:
    """Name a target as pictures do."""
    return f"class {target}" if target.isdigit() else target


def _with(name: str, probability: float | None) -> str:
    return name if probability is None else f"{name} ({probability:.2f})"
