"""A readout's training from its beginning to what is kept of it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bitlens.bottlenecks.readout.learnt import Learnt
from bitlens.bottlenecks.readout.task import ReadoutTask, Teaching
from bitlens.bottlenecks.readout.weights import ReadoutWeights
from bitlens.core.inputs import ModelInputs
from bitlens.errors import SettingError
from bitlens.probe import Probe
from bitlens.probe.fingerprint import weights_hash
from bitlens.training.examples import Examples
from bitlens.training.loop import Progress, Trained, train
from bitlens.training.settings import TrainingSettings


def begun_at(start: ReadoutWeights, probe: Probe, choices: Mapping[str, Any]) -> Learnt:
    """Return what a training that begins at another readout takes over: its statistics, and what it reads.

    Raises:
        StatisticsError: if it is of another layer or network.
        SettingError: if its network has another shape.
    """
    start.check_network(probe.name, weights_hash(probe.model))
    shape = {name: choices[name] for name in ("conditional", "hidden", "middle")}
    if any(start.settings[name] != value for name, value in shape.items()):
        raise SettingError(f"training cannot begin at a readout of another shape: it must have {shape}")
    return Learnt(start.statistics, start.reads, choices, start.provenance)


def inputs_of(examples: Examples, size: int) -> Iterator[ModelInputs]:
    """Yield all inputs, in batches."""
    for start in range(0, len(examples), size):
        yield examples.take(range(start, min(start + size, len(examples)))).inputs


def learn_weights(
    probe: Probe,
    known: Learnt,
    examples: Examples,
    settings: TrainingSettings,
    *,
    teaching: Teaching,
    start: ReadoutWeights | None,
    checkpoint: Path | None,
    progress: Progress | None,
    seed: int,
) -> tuple[Learnt, Trained]:
    """Train the network of a readout.

    Args:
        probe: of the layer and of all that is read.
        known: what is known of the layer so far.
        examples: what is learnt from.
        settings: how.
        teaching: at what price, and whether masks of the per-sample bottleneck come first.
        start: whose weights it begins at.
        checkpoint: a file that is written now and then.
        progress: called after every step.
        seed: of the noise of the per-sample bottleneck.

    Returns:
        What it knows then, and how it went.
    """
    network = known.new_network(settings.seed, probe.device)
    if start is not None:
        network.load_state_dict(dict(start.state))
    task = ReadoutTask(probe, known, network, teaching, start, seed=seed)
    done = train(task, examples, settings, checkpoint=checkpoint, progress=progress)
    last = done.rows[done.best_epoch - 1]
    training = {
        **asdict(settings),
        "teaching": asdict(teaching),
        "samples": done.samples,
        "held_out_samples": done.held_out,
        "epochs_done": len(done.rows),
        "best_epoch": done.best_epoch,
        "train": dict(last.train),
        "held_out_losses": dict(last.held_out),
    }
    return replace(known, network=network, training=training), done
