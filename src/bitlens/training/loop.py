"""The training loop: one process or several, exact to resume, stopped at the first number that is not finite.

What happens to a sample depends on its number, the epoch and the seed, never on the process that computes it, on what
is kept in memory or on where the training was cut off. Samples are dealt into batches once; each epoch takes the batches
in another order, so that what the clean passes gave can be kept from one epoch to the next.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bitlens.errors import FitError
from bitlens.training.checkpoint import Checkpoint, State
from bitlens.training.curve import EpochRow
from bitlens.training.dealing import deal, generator_of, seed_of, shares
from bitlens.training.examples import Examples
from bitlens.training.processes import accelerator_for
from bitlens.training.settings import SCHEDULES, TrainingSettings
from bitlens.training.task import Losses, Trainee

_DTYPES = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Moment:
    """Moment of a training, for whoever watches.

    Attributes:
        epoch: that is under way, from 1.
        step: of this epoch that is done.
        steps: that an epoch has.
        loss: mean over the steps of this epoch so far.
        held_out: loss after the epoch before, None before the first.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    held_out: float | None


Progress = Callable[[Moment], None]


@dataclass(frozen=True)
class Trained:
    """Course of a training; the network has the weights of its best epoch.

    Attributes:
        rows: of the epochs.
        best_epoch: whose weights the network has, from 1.
        samples: that were trained on.
        held_out: samples that were not.
        leads: whether this process is the one that writes and speaks for all.
    """

    rows: tuple[EpochRow, ...]
    best_epoch: int
    samples: int
    held_out: int
    leads: bool


def train(
    task: Trainee,
    examples: Examples,
    settings: TrainingSettings,
    *,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train a network.

    Args:
        task: what is learnt; its network is trained in place.
        examples: what is learnt from.
        settings: how.
        checkpoint: a file that is written now and then; a training with the same settings goes on from it.
        progress: called after every step.

    Raises:
        FitError: at the first number that is not finite; the message says where it came from.
        SettingError: if the settings do not fit the samples, the processes, or the checkpoint.
        DependencyError: if the package accelerate is not installed.
    """
    return _Loop(task, examples, settings, checkpoint).run(progress)


class _Loop:
    """One training on one process of `world`."""

    def __init__(self, task: Trainee, examples: Examples, settings: TrainingSettings, checkpoint: Path | None) -> None:
        self.task, self.examples, self.settings = task, examples, settings
        device = next(task.module.parameters()).device
        self.accelerator = accelerator_for(settings, device)
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.dtype = _DTYPES[settings.precision]
        self.groups, self.held = deal(len(examples), settings, self.world)
        optimizer = torch.optim.Adam(task.module.parameters(), lr=settings.learning_rate)
        self.module, self.optimizer = self.accelerator.prepare(task.module, optimizer)
        self.kept: dict[tuple[int, ...], Any] = {}
        self.free = settings.memory * 2**30
        dealt = {"samples": sum(map(len, self.groups)), "first": self.groups[0][0]}
        identity = {**settings.identity(), **task.identity(), **dealt}
        kept = (task.module, self.optimizer, self.accelerator.scaler, identity)
        self.checkpoint = Checkpoint(checkpoint, *kept) if checkpoint is not None else None

    def run(self, progress: Progress | None) -> Trained:
        """Train until the last epoch, or until it gets no better."""
        try:
            state = self._resumed()
            while state.epoch < self.settings.epochs and not self._in_vain(state):
                self._run_epoch(state, progress if self.rank == 0 else None)
        finally:
            # Takes its autocast off again, and leaves the module's own forward on the instance, where copies would keep it
            self.accelerator.unwrap_model(self.module, keep_fp32_wrapper=False)
            vars(self.task.module).pop("forward", None)
        self.task.module.load_state_dict(state.best)
        self.accelerator.wait_for_everyone()
        samples = sum(map(len, self.groups))
        return Trained(tuple(state.rows), state.best_epoch, samples, len(self.held), self.rank == 0)

    def _in_vain(self, state: State) -> bool:
        return 0 < self.settings.patience <= state.waited and bool(state.rows)

    def _run_epoch(self, state: State, progress: Progress | None) -> None:
        began = time.perf_counter()
        generator = generator_of(self.settings.seed, "order", state.epoch)
        order = torch.randperm(len(self.groups), generator=generator).tolist()
        while state.step < len(order):
            self._set_rate(state.epoch * len(order) + state.step)
            losses = self._step(self.groups[order[state.step]], state.epoch)
            for name, value in losses.items():
                state.sums[name] = state.sums.get(name, 0.0) + value
            state.step += 1
            if progress is not None:
                before = state.rows[-1].held_out.get("loss") if state.rows else None
                mean = state.sums["loss"] / state.step
                progress(Moment(state.epoch + 1, state.step, len(order), mean, before))
            if state.step % self.settings.checkpoint_steps == 0 and state.step < len(order):
                self._save(state)
        row = EpochRow(
            state.epoch + 1,
            (state.epoch + 1) * len(order),
            {name: value / len(order) for name, value in state.sums.items()},
            self._held_out(),
            time.perf_counter() - began,
        )
        self._finish(state, row)

    def _set_rate(self, step: int) -> None:
        share = SCHEDULES[self.settings.schedule](step, self.settings.epochs * len(self.groups))
        for group in self.optimizer.param_groups:
            group["lr"] = share * self.settings.learning_rate

    def _finish(self, state: State, row: EpochRow) -> None:
        best = min((known.judged for known in state.rows), default=float("inf"))
        state.rows.append(row)
        if row.judged < best:
            state.best_epoch = row.epoch
            state.best = {name: tensor.detach().cpu().clone() for name, tensor in self.task.module.state_dict().items()}
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        self._save(state)

    def _step(self, group: Sequence[int], epoch: int) -> dict[str, float]:
        """Make one step of Adam on one batch; return its mean losses, the same on every process."""
        means: dict[str, float] = {}
        parts = self.settings.accumulation
        for part in shares(group, self.world, self.rank, parts):
            seeds = [seed_of(self.settings.seed, epoch, row) for row in part]
            prepared = self._prepared(part)
            with self.accelerator.accumulate(self.module):
                losses = self.task.losses(self.module, prepared, seeds, epoch, self.dtype)
                for name, value in self._reduced(losses, len(part)).items():
                    means[name] = means.get(name, 0.0) + value / parts
                if not _finite(means):
                    where = self.task.diagnose(self.accelerator.unwrap_model(self.module), prepared, seeds, epoch)
                    raise FitError(f"training stopped in epoch {epoch + 1}: {where}")
                self.accelerator.backward(losses.total.mean())
                if self.accelerator.sync_gradients and self.accelerator.scaler is None:
                    self._check_gradients(epoch)
                self.optimizer.step()
                self.optimizer.zero_grad()
        return means

    def _reduced(self, losses: Losses, count: int) -> dict[str, float]:
        """Return means over the samples of all processes."""
        named = {"loss": losses.total, **losses.parts}
        means = torch.stack([values.detach().float().sum() for values in named.values()]) / count
        reduced = self.accelerator.reduce(means, "mean").tolist()
        return dict(zip(named, reduced, strict=True))

    @torch.no_grad()
    def _held_out(self) -> dict[str, float]:
        """Return mean losses over the held-out samples, each under the same noise every time."""
        if not self.held:
            return {}
        size = max(1, self.settings.batch // self.settings.accumulation)
        chunks = [self.held[i : i + size] for i in range(0, len(self.held), size)]
        names: tuple[str, ...] = ()
        total = torch.zeros(0, dtype=torch.float64)
        for chunk in chunks[self.rank % len(chunks) :: self.world]:
            seeds = [seed_of(self.settings.seed, "held out", row) for row in chunk]
            losses = self.task.losses(self.module, self._prepared(chunk), seeds, None, self.dtype)
            named = {"loss": losses.total, **losses.parts}
            sums = torch.stack([values.double().sum().cpu() for values in named.values()])
            names, total = tuple(named), sums if not names else total + sums
        if self.rank >= len(chunks):
            total = torch.zeros_like(total)  # it repeated a chunk of another process, only to learn what the losses are
        reduced = self.accelerator.reduce(total.to(self.accelerator.device), "sum") / len(self.held)
        return dict(zip(names, reduced.tolist(), strict=True))

    def _prepared(self, rows: Sequence[int]) -> Any:
        """Return what does not change about some samples: kept, as long as there is room."""
        key = tuple(rows)
        if key in self.kept:
            return self.kept[key]
        prepared = self.task.prepare(self.examples.take(rows))
        if prepared.nbytes <= self.free:
            self.free -= prepared.nbytes
            self.kept[key] = prepared
        return prepared

    def _check_gradients(self, epoch: int) -> None:
        named = [(name, p.grad) for name, p in self.task.module.named_parameters() if p.grad is not None]
        if bool(torch.stack([gradient.isfinite().all() for _, gradient in named]).all()):
            return
        name, gradient = next((n, g) for n, g in named if not bool(g.isfinite().all()))
        element = tuple((~gradient.isfinite()).nonzero()[0].tolist())
        raise FitError(
            f"training stopped in epoch {epoch + 1}: the gradient of {name} is not finite at element {element}, while the losses "
            "are: use a smaller learning_rate, or precision='no'"
        )

    def _save(self, state: State) -> None:
        if self.checkpoint is not None and self.rank == 0:
            self.checkpoint.save(state)
        self.accelerator.wait_for_everyone()

    def _resumed(self) -> State:
        if self.checkpoint is None or not self.checkpoint.path.is_file():
            return State()
        return self.checkpoint.load()


def _finite(means: Mapping[str, float]) -> bool:
    return all(abs(value) < float("inf") for value in means.values())
