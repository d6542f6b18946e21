"""Break the source on purpose, one line at a time, and see whether the tests notice.

`python tools/mutants.py [--only WORD] [--jobs N]` works on a copy of the repository in a temporary folder. Each mutation of
`SOURCES` replaces one text that occurs exactly once in its file; then the tests that are named beside the file run. A mutant
that they do not notice is a hole in the tests (or does not change what the code computes: then it does not belong in the list).
"""

import argparse
import importlib.util
import multiprocessing
import os
import queue
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 240  # seconds for the tests of one mutant; one that hangs is noticed too

_FORKED = multiprocessing.get_context("forkserver")
"""Starts processes that have imported all of `_LIBRARIES` (most of the time that a small test takes), and nothing of bitlens."""

_LIBRARIES = (
    "captum.attr",
    "matplotlib.pyplot",
    "mpmath",
    "pyarrow",
    "pytest",
    "scipy.integrate",
    "scipy.ndimage",
    "scipy.stats",
    "skimage.metrics",
    "torch",
    "torch._dynamo",
    "torch.distributions",
    "torchvision.models",
    "typer",
)


@dataclass(frozen=True)
class Source:
    """One file of the source, what is to be broken in it, and who should notice.

    Attributes:
        file: below src/bitlens.
        tests: below tests, files or single tests.
        mutations: what breaks, the text that is there (once), and what takes its place.
    """

    file: str
    tests: tuple[str, ...]
    mutations: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Mutant:
    """One mutation."""

    source: Source
    what: str
    old: str
    new: str

    @property
    def name(self) -> str:
        """What is broken where."""
        return f"{self.source.file}: {self.what}"


SOURCES: tuple[Source, ...] = (
    Source(
        "app/gate.py",
        ("security/test_gate.py",),
        (
            ("a question for two names", "if len(hosts) != 1 or hosts[0] not in", "if hosts[0] not in"),
            (
                "any number is this machine's",
                "return address.is_loopback or self._any_address or name",
                "return True or name",
            ),
            ("any name is this machine's", "return name in self._names", "return True"),
            (
                "the origin does not matter",
                "if origin is not None and origin not in",
                "if origin is None and origin not in",
            ),
            ("other pages may ask", 'in ("same-origin", "none")', 'in ("same-origin", "none", "cross-site")'),
            ("everything can be read", "return path in _READS or path.startswith(_READS_BELOW)", "return True"),
            ("every file can be fetched", 'inside = file.startswith(self._files) and ".."', 'inside = ".."'),
            ("the way out of the folder", ' and ".." not in file.split("/")', ""),
            (
                "files of others can be fetched",
                "return inside and not self._uploads.is_another_s(file, visitor)",
                "return inside",
            ),
            (
                "sessions of others are heard",
                "return all(self._uploads.asks_in(session, visitor) for session in asked)",
                "return True",
            ),
            ("one upload is looked at", "for path in named):", "for path in named[:1]):"),
            (
                "a file without a path",
                'return bool({"path", "url", "is_stream"} & value.keys())',
                'return "path" in value',
            ),
            (
                "what a question says of a file",
                'return {"path": value.get("path"),',
                'return {**value, "path": value.get("path"),',
            ),
            ("questions in sessions of others", "if isinstance(session, str) and not", "if session is None and not"),
            ("scripts read the visitor's name", "HttpOnly; ", ""),
            ("other pages send the visitor's name", "; SameSite=Strict", ""),
            ("leave for other pages", 'if not name.lower().startswith(b"access-control-")', "if name"),
        ),
    ),
    Source(
        "core/gaussian.py",
        ("core/test_gaussian.py", "core/test_fitting.py"),
        (
            ("floor on the noise ten times as high", "min_std: float = 0.01", "min_std: float = 0.1"),
            ("rarely active features count", "activity_threshold: float = 0.01", "activity_threshold: float = 0.0"),
            ("score adds the mean", "features.float() - self.mean", "features.float() + self.mean"),
            ("score multiplies by the spread", "- self.mean) / self.std)", "- self.mean) * self.std)"),
            ("inactive features have a score", ".square() * self.active", ".square()"),
            ("inactive features get the noise's mean", "self.mean * self.active, self.std", "self.mean, self.std"),
            ("inactive features get the noise's spread", "self.std * self.active, standard", "self.std, standard"),
            ("the prior is lost on the way to a device", "self.clamp, hidden)", "self.clamp, None)"),
            ("clamping is lost on the way to a device", "self.clamp, hidden)", "False, hidden)"),
            (
                "the prior is not counted",
                "return u if self.hidden is None else beyond_prior(u, self.hidden)",
                "return u",
            ),
            ("information: the variance's term", "passed * (1 + u))", "passed * (1 - u))"),
            ("information: no half", ".mul(0.5).sub(u.log())", ".sub(u.log())"),
            ("information: the logarithm's sign", ".sub(u.log())", ".add(u.log())"),
            ("information: of inactive features", ".sub(u.log()) * active", ".sub(u.log())"),
            ("information: λ in place of λ²", "passed.square() * squared_score", "passed * squared_score"),
            ("information: floor on u", "_SMALLEST = 1e-7", "_SMALLEST = 1e-6"),
            ("slope: without its 1", ".add_(1).mul_(u - 1)", ".mul_(u - 1)"),
            ("slope: sign", ".mul_(u - 1)", ".mul_(1 - u)"),
            ("slope: sign of the score", ".add_(squared_score)", ".sub_(squared_score)"),
            ("beyond the prior: u + v in place of u + v - uv", "u / (hidden + u * (1 - hidden))", "u / (hidden + u)"),
            ("slope beyond the prior: not squared", "* (1 - hidden)).square()", "* (1 - hidden))"),
            ("slope beyond the prior: 1 in place of v", "return hidden / (hidden", "return 1 / (hidden"),
            (
                "features and noise change places",
                "torch.lerp(features, noise, u)",
                "torch.lerp(features, noise, 1 - u)",
            ),
        ),
    ),
    Source(
        "core/masks.py",
        ("core/test_masks.py",),
        (
            ("a wider kernel", "round(2 * sigma)", "round(3 * sigma)"),
            ("a narrower Gaussian", "torch.exp(-0.5 *", "torch.exp(-1.0 *"),
            ("the kernel's sum", "kernel = kernel / kernel.sum()", "kernel = kernel / kernel.max()"),
            ("borders repeat their place", "max(2 * (size - 1), 1)", "max(2 * size, 1)"),
            ("reflected taps overwrite", "matrix.scatter_add_(", "matrix.scatter_("),
            ("tokens are blurred", "if not sigma or not layout.on_grid:", "if not sigma:"),
            ("the mask in place of its complement", "torch.sigmoid(-logits)", "torch.sigmoid(logits)"),
            ("columns transposed, channels first", "@ columns.T)", "@ columns)"),
            ("rows transposed, channels first", "(rows @ u.movedim", "(rows.T @ u.movedim"),
            ("rows transposed, channels last", "torch.bmm(rows.expand(", "torch.bmm(rows.T.expand("),
            ("columns transposed, channels last", "torch.bmm(columns.expand(", "torch.bmm(columns.T.expand("),
            ("other tokens are halved", "torch.cat([u[:, : layout.extra],", "torch.cat([u[:, : layout.extra] / 2,"),
        ),
    ),
    Source(
        "core/noise.py",
        ("core/test_noise.py", "core/test_fitting.py"),
        (
            ("all blocks share a stream", "manual_seed(seed + i * _STREAM)", "manual_seed(seed)"),
            ("the seed is not used", "manual_seed(seed + i * _STREAM)", "manual_seed(i * _STREAM)"),
            ("neighbouring seeds share streams", "_STREAM = 0x9E3779B1", "_STREAM = 1"),
            ("antithetic copies are repetitions", "torch.cat([noise, -noise[", "torch.cat([noise, noise["),
            ("antithetic is not asked for", "// 2 if self._antithetic else", "// 2 if not self._antithetic else"),
            ("half as many antithetic copies", "independent = (count + 1) // 2 if", "independent = count // 2 if"),
            ("copies share their noise", "torch.randn(size, generator", "torch.randn(size[1:], generator"),
            ("uniform noise", "torch.randn(size", "torch.rand(size"),
            ("blocks in the other order", "torch.cat(blocks, 2)", "torch.cat(blocks[::-1], 2)"),
            ("the last places are kept", "noise[:, :, : self._shape[0]]", "noise[:, :, -self._shape[0] :]"),
        ),
    ),
    Source(
        "core/effort.py",
        ("core/test_objective.py", "core/test_fitting.py"),
        (
            (
                "T updates before the mask is reported",
                'self.steps - 1 if self.readout == "last',
                'self.steps if self.readout == "last',
            ),
            (
                "final reports T - 1 updates",
                'if self.readout == "last_forward" else self.steps',
                "if True else self.steps",
            ),
            ("rising copies start at none", "return 1 + step * self.noise", "return step * self.noise"),
            ("rising copies fall", "1 + step * self.noise", "1 + (self.updates - 1 - step) * self.noise"),
        ),
    ),
    Source(
        "core/fitting.py",
        ("core/test_objective.py", "core/test_fitting.py"),
        (
            (
                "inactive features reach the network in the fit",
                "used = features * noise_model.active\n    first",
                "used = features\n    first",
            ),
            ("channels never share a mask", "if region.shared else features", "if False else features"),
            ("the initial logit is not used", "settings.initial_logit, req", "5.0, req"),
            ("the learning rate is not used", "lr=settings.learning_rate", "lr=1.0"),
            ("another optimiser", "torch.optim.Adam(", "torch.optim.NAdam("),
            (
                "each step draws the noise of the first",
                "noise.draw(settings.copies_at(step))",
                "[g.manual_seed(seed) for g in noise._generators] and noise.draw(settings.copies_at(step))",
            ),
            ("all steps take all copies", "noise.draw(settings.copies_at(step))", "noise.draw(settings.noise_samples)"),
            ("gradients add up over steps", "        optimizer.zero_grad()\n", ""),
            ("the sum over copies in place of the mean", "return gradient.div_(len(standard))", "return gradient"),
            ("the loss's mean over rows", "torch.autograd.grad(loss.sum()", "torch.autograd.grad(loss.mean()"),
            (
                "clamped noise is not clamped in the fit",
                "restricted = z.clamp_min(0) if noise_model.clamp else z\n        rows",
                "restricted = z\n        rows",
            ),
            ("the loss's slope without its direction", "gradient.addcmul_(copy, direction)", "gradient.add_(copy)"),
            (
                "the slope through deeper layers is lost",
                "            gradient += part\n",
                "            gradient += 0 * part\n",
            ),
            (
                "deeper layers are restricted at half of u",
                "deeper.restricted(below[0], len",
                "deeper.restricted(below[0] / 2, len",
            ),
            ("the sum in place of the mean information", "settings.beta / counts if", "settings.beta if"),
            ("a price is not used", "torch.full_like(counts, settings.price)", "torch.full_like(counts, 1e-2)"),
            (
                "inactive features have a price",
                "price = masks.active * nat",
                "price = torch.ones_like(masks.active) * nat",
            ),
            ("information is a reward", "masks.information_slope(u))", "-masks.information_slope(u))"),
            ("the information that is watched comes a step late", "watch(step, masks", "watch(step + 1, masks"),
        ),
    ),
    Source(
        "core/family.py",
        (
            "core/test_objective.py",
            "core/test_fitting.py",
            "bottlenecks/test_holding.py",
            "bottlenecks/test_token_input.py",
        ),
        (
            (
                "the mean over all features, restricted or not",
                "if self.restricted is None:\n            return features",
                "if True:\n            return features",
            ),
            ("what is not restricted counts", "region.of(model.active)", "model.active"),
            ("what is not restricted is noised", "self.region.of(complement(", "(complement("),
            (
                "σ of the blur is not used",
                "tuple(features.shape[1:]), smoothing)",
                "tuple(features.shape[1:]), smoothing and 1.0)",
            ),
            ("information ignores the prior", "information(self.noise_model.counted(u)", "information(u"),
            ("no chain rule beyond the prior", "return slope * beyond_prior_slope(u, hidden)", "return slope"),
            (
                "the slope beyond the prior at u",
                "information_slope(self.noise_model.counted(u), self",
                "information_slope(u, self",
            ),
            ("antithetic noise is not drawn", "antithetic=antithetic, block", "block"),
            ("blocks are not drawn", "block=self.block, ", ""),
            ("budgets are met from the wrong side", "> nats", "< nats"),
            (
                "parts are those of the first samples",
                "features=self.features[samples]",
                "features=self.features[: len(samples)]",
            ),
            ("a shift closes", "self.at(logits + shift", "self.at(logits - shift"),
        ),
    ),
    Source(
        "core/holding.py",
        ("core/test_objective.py", "core/test_fitting.py", "bottlenecks/test_holding.py"),
        (
            (
                "inactive features reach the network",
                "used, values = features * model.active, []",
                "used, values = features, []",
            ),
            ("clamped noise is not clamped", "restricted = z.clamp_min(0) if model.clamp else z", "restricted = z"),
            (
                "deeper layers are clean",
                "with self.deeper.restricted(u, len(noise)) if self.deeper is not None else nullcontext():",
                "with nullcontext():",
            ),
            ("the loss in place of the value", "self.target.value(self.run(", "self.target.loss(self.run("),
            ("samples mixed up", ".reshape(-1, len(features))", ".reshape(len(features), -1).T"),
            ("divisor n", "values.std(0) if", "values.std(0, correction=0) if"),
            ("the median", "return values.mean(0)", "return values.median(0).values"),
            ("antithetic noise is repeated", "[-noise for noise", "[noise for noise"),
            ("less is kept than asked for", "settled = kept >= keep\n", "settled = kept >= 0.5 * keep\n"),
            ("what needs nothing passes", "best, shift), -FAR)", "best, shift), FAR)"),
            ("masks that hold are not closed", "if closes:", "if False:"),
            (
                "the proof is what was looked at",
                "proven = torch.cat([proven, more])",
                "proven = seen[:1].expand(proof, -1)[:, chosen]",
            ),
            ("a proof that fails is believed", "settled[chosen] = kept[chosen] >= keep", "settled[chosen] = True"),
            ("looks are forgotten", "weight[samples] += worth", "weight[samples] = worth"),
            ("brackets change sides", "torch.where(holds, here.minimum(high", "torch.where(~holds, here.minimum(high"),
            ("steps do not grow", "least * _GROWTH, most * _GROWTH", "least, most"),
        ),
    ),
    Source(
        "core/floor.py",
        ("bottlenecks/test_holding.py",),
        (
            ("the floor is left out", "(under - floor) / span", "under / span"),
            ("chance counts as a decision", "span > 2 * error", "span > -1 + 0 * error"),
        ),
    ),
    Source(
        "core/evidence.py",
        ("view/test_tradeoff.py", "bottlenecks/test_spread.py"),
        (
            (
                "bits lie evenly between points",
                "self.kept.contiguous(), self.bits.clamp_min(1e-6).log()",
                "self.kept.contiguous(), self.bits",
            ),
            ("out of reach is the last point", "torch.where(reached, exact, torch.nan)", "exact + 0 * reached"),
            (
                "the most bits that hold",
                "torch.searchsorted(shares, wanted)",
                "torch.searchsorted(shares, wanted, right=True)",
            ),
            (
                "padding counts as places",
                "(top * places).round()",
                "(top * torch.full_like(places, flat.shape[2])).round()",
            ),
            ("any seed's top", "inside.all(0)", "inside.any(0)"),
            ("a map of nothing has a top", "(flat >= least) & (flat > 0)", "flat >= least"),
            ("the variance", "maps.std(0)", "maps.var(0)"),
        ),
    ),
    Source(
        "bottlenecks/bottleneck.py",
        ("bottlenecks/test_spread.py",),
        (
            ("the same seed again", "seed=recorded.seed + more,", "seed=recorded.seed,"),
            ("deeper layers go on", "recorded.deeper.restart(self.seed + more)", "pass"),
        ),
    ),
    Source(
        "reports/compared.py",
        ("reports/test_compared.py",),
        (
            ("ratios turned over", "math.log(b / a)", "math.log(a / b)"),
            ("inputs that only some tell", "if len(row) == len(self.columns)", "if row"),
        ),
    ),
    Source(
        "core/own.py",
        ("bottlenecks/test_holding.py",),
        (
            (
                "the mean of all samples",
                "values.mean(2), values.std(2)",
                "values.mean((0, 2)).expand(len(values), -1), values.std(2)",
            ),
            ("the spread around zero", "values.std(2) if", "values.square().mean(2).sqrt() if"),
        ),
    ),
    Source(
        "app/uploads.py",
        ("security/test_gate.py",),
        (
            ("examples are nobody's", "return path in self._shared or visitor in", "return visitor in"),
            ("what nobody uploaded is everybody's", "self._owners.get(path, ())", "self._owners.get(path, (visitor,))"),
            ("the last who names a session has it", "return owner == visitor", "return True"),
        ),
    ),
    Source(
        "probe/plainly.py",
        ("probe/test_modules.py",),
        (("fused attention stays off", "set_fastpath_enabled(enabled)", "set_fastpath_enabled(False)"),),
    ),
    Source(
        "core/statistics.py",
        ("core/test_statistics.py",),
        (
            ("merged mean: the other's weight", "difference * (m / (n + m))", "difference * (n / (n + m))"),
            ("merged squares: weight", "(n * m / (n + m))", "(n * n / (n + m))"),
            ("merged squares: between the parts", "difference.square() * (n * m", "difference.abs() * (n * m"),
            ("divisor n", "(self._counts - 1).clamp_min(1)", "self._counts"),
            ("activity: of positive values", "(rows != 0)", "(rows > 0)"),
            ("activity: of samples", "self.nonzero / self._counts", "self.nonzero / self.samples"),
            ("a threshold is enough", "(self.activity > settings", "(self.activity >= settings"),
            ("the floor is added", "std.clamp_min(settings.min_std)", "(std + settings.min_std)"),
            ("zero-mean: over all values", "(total / self.nonzero.clamp_min(1))", "(total / self._counts)"),
            ("zero-mean: around the mean", "self.squares + self._counts * self.mean.square()", "self.squares"),
            ("zero-mean is not clamped", 'settings.noise != "gaussian"', 'settings.noise == "clamped"'),
            ("channels on the first axis", "shape[self.layout.channel] = -1", "shape[0] = -1"),
            (
                "padding counts",
                "rows = rows[valid.bool()] if valid is not None",
                "rows = rows[valid.bool() | True] if valid is not None",
            ),
            (
                "other tokens count like patches",
                "[self.samples] * self.layout.extra",
                "[self.observations] * self.layout.extra",
            ),
        ),
    ),
    Source(
        "core/maps.py",
        ("core/test_maps.py",),
        (
            ("bits and nats", "nats / math.log(2)", "nats * math.log(2)"),
            ("a mean over channels", "cells = bits.sum(", "cells = bits.mean("),
            (
                "the last tokens are the extra ones",
                "cells[:, layout.extra :]",
                "cells[:, : cells.shape[1] - layout.extra]",
            ),
            ("extra tokens' mean", "layout.extra].sum(2)", "layout.extra].mean(2)"),
            ("corners aligned", "align_corners=False", "align_corners=True"),
            ("nearest", 'mode="bilinear", align_corners=False', 'mode="nearest"'),
            ("totals of odd sizes", "return pixels * factor[:, None, None]", "return pixels"),
            (
                "one factor for all",
                "cells.sum((1, 2)), pixels.sum((1, 2))",
                "cells.sum(), pixels.sum().expand(len(cells))",
            ),
        ),
    ),
    Source(
        "core/layout.py",
        ("core/test_layout.py",),
        (
            (
                "channels last where both fit",
                "_distortion(features[:2], image_size) < _",
                "_distortion(features[:2], image_size) <= _",
            ),
            ("the image on its side", "grid[0] * width / (grid[1] * height)", "grid[0] * height / (grid[1] * width)"),
            ("rounding counts", "max(difference - 1.0 / min(grid), 0.0)", "difference"),
            ("the fewest patches", "max(fitting, key=math.prod)", "min(fitting, key=math.prod)"),
            ("any number of extra tokens", "0 <= more <= _MOST_EXTRA", "0 <= more"),
            ("ten extra tokens", "_MOST_EXTRA = 9", "_MOST_EXTRA = 10"),
            ("never filled up", "yield -(-height // side), -(-width // side)", "yield height // side, width // side"),
            ("never cut off", "yield height // side, width // side\n", "yield -(-height // side), -(-width // side)\n"),
            ("extra tokens that are not there", "features[0] - math.prod(patches) == self.extra", "True"),
            ("extra tokens forgotten", 'Layout("PD", 1, (0,), extra)', 'Layout("PD", 1, (0,))'),
        ),
    ),
    Source(
        "core/questions.py",
        ("core/test_targets.py", "planted/test_outputs.py"),
        (
            (
                "rows sample by sample",
                "values.repeat(rows // len(values), *[1] * (values.dim() - 1))",
                "values.repeat_interleave(rows // len(values), 0)",
            ),
            ("class: the loss's sign", "return -self._answer(F.log_softmax", "return self._answer(F.log_softmax"),
            (
                "class: the logarithm",
                "self._answer(F.log_softmax(self.form.scores(output), 1)).exp()",
                "self._answer(F.log_softmax(self.form.scores(output), 1))",
            ),
            (
                "score: the log-probability",
                "return self._answer(self.form.margins(output))",
                "return self._answer(F.log_softmax(self.form.margins(output), 1))",
            ),
            ("log-odds: the cross-entropy", "logits.scatter(1, index, -torch.inf)", "logits"),
            (
                "log-odds: sign",
                "-torch.inf), 1) - logits.gather(1, index)[:, 0]",
                "-torch.inf), 1) + logits.gather(1, index)[:, 0]",
            ),
            (
                "log-odds: of another form",
                "return changed(cls(target.classes), form=target.form)",
                "return cls(target.classes)",
            ),
            (
                "any of: the product",
                "torch.logsumexp(log_probabilities[:, self.classes], 1)",
                "log_probabilities[:, self.classes].sum(1)",
            ),
            ("any of: twice", "list(dict.fromkeys(classes))", "list(classes)"),
            ("not: the class itself", "if i != self.index", "if i == self.index"),
        ),
    ),
    Source(
        "core/scores.py",
        ("core/test_targets.py", "planted/test_outputs.py"),
        (
            ("label: the loss's sign", "return -self.score(output)", "return self.score(output)"),
            ("label: the log-odds", "return self.score(output).sigmoid()", "return self.score(output)"),
            ("regression: no half", "0.5 * ((got", "((got"),
            ("regression: no scale", ") / self.scale).square()", ")).square()"),
            ("regression: another value", "asked.value(output).detach() if", "0 * asked.value(output).detach() if"),
            (
                "any function: the loss's sign",
                '"""Return the negative score."""\n        return -self',
                '"""Return the negative score."""\n        return self',
            ),
            (
                "similarity: the loss's sign",
                '"""Return the negative similarity."""\n        return -self',
                '"""Return the negative similarity."""\n        return self',
            ),
        ),
    ),
    Source(
        "core/outputs.py",
        ("core/test_targets.py", "planted/test_outputs.py"),
        (
            (
                "one column: the other class",
                "torch.cat([torch.zeros_like(margins[:, 1:]), margins[:, 1:]], 1)",
                "torch.cat([margins[:, 1:], torch.zeros_like(margins[:, 1:])], 1)",
            ),
            ("score: the other class", "torch.cat([-columns, columns], 1)", "torch.cat([columns, -columns], 1)"),
            ("score: zero for class 0", "torch.cat([-columns, columns], 1)", "torch.cat([0 * columns, columns], 1)"),
            ("probabilities: no logarithm", "return columns.clamp_min(_tiny(columns)).log()", "return columns"),
            ("a probability is its log-odds", "columns = _log_odds(columns)", "pass"),
            ("nothing is refused", "        if self.refusal:\n", "        if False:\n"),
            ("labels compete", "scores.sigmoid() if self.labels else", "scores.softmax(1) if self.labels else"),
        ),
    ),
    Source(
        "core/targets.py",
        ("core/test_targets.py", "planted/test_outputs.py"),
        (
            ("another order: targets stay", "else [target[i] for i in rows.tolist()]", "else list(target)"),
            ("some samples: questions stay", "return target.select(rows)", "return target"),
            (
                "a label is a class",
                "    if form.labels:\n        return MultiLabel",
                "    if False:\n        return MultiLabel",
            ),
        ),
    ),
    Source(
        "core/inputs.py",
        ("core/test_inputs.py",),
        (
            (
                "rows sample by sample",
                "value.repeat(copies, *[1] * (value.dim() - 1))",
                "value.repeat_interleave(copies, 0)",
            ),
            ("tables follow the samples", "v.dim() > 0 and v.shape[0] == count}", "v.dim() > 0}"),
            ("texts lose their beginning", "value[:, :length]", "value[:, -length:]"),
            ("another first tensor: the old one stays", "value if key == where else old", "old"),
            ("a clone is none", "value.clone(), self.count", "value, self.count"),
            ("chosen rows are not counted", "else len(rows)", "else self.count"),
            ("inputs keep their graph", "value.detach().to(device)", "value.to(device)"),
            ("images of whole numbers", "if drawn.dim() == 4 and drawn.is_floating_point()", "if drawn.dim() == 4"),
            ("the count is part of the signature", '("N", *value.shape[1:])', "tuple(value.shape)"),
        ),
    ),
    Source(
        "probe/replaying.py",
        ("probe/test_replaying.py", "probe/test_probe.py", "probe/test_replay_text.py"),
        (
            ("the output of the call before", ".append(len(recorded))", ".append(max(len(recorded) - 1, 0))"),
            ("the layer runs", '[-1] = "splice"', '[-1] = "run"'),
            ("any growth is a samples' axis", "b[grown[0]] != 2 * a[grown[0]]", "False"),
            (
                "the last tensor is restricted",
                "return next(i for i, axis in enumerate(axes) if axis is not None)",
                "return max(i for i, axis in enumerate(axes) if axis is not None)",
            ),
            ("samples on the first axis", "axes.append(grown[0])", "axes.append(0)"),
            ("the first call of several", '["run"] * call + ["splice"]', '["splice"]'),
        ),
    ),
    Source(
        "probe/recording.py",
        ("probe/test_probe.py", "probe/test_replay_text.py", "probe/test_reads.py"),
        (
            ("rows sample by sample", "return leaf.repeat(repeats)", "return leaf.repeat_interleave(copies, axis)"),
            (
                "what is kept may be overwritten",
                "[leaf.clone() if _solid(leaf) else leaf for leaf in self.leaves]",
                "list(self.leaves)",
            ),
            ("given out without a copy", "[leaf.clone() if i in written else leaf for", "[leaf for"),
            ("turns go on from pass to pass", "            position.clear()\n", ""),
            ("samples on the first axis", "z.movedim(0, self._axis).contiguous() if self._axis else z", "z"),
            ("slopes of the mean", "measure(self._graph).sum()", "measure(self._graph).mean()"),
            ("other samples' outputs", "[leaf[:samples] for leaf in leaves]", "[leaf[-samples:] for leaf in leaves]"),
        ),
    ),
    Source(
        "probe/modules.py",
        ("probe/test_modules.py",),
        (
            ("modules stay wrapped", 'module.__dict__.pop("forward", None)', "pass"),
            (
                "the user's own forward is lost",
                '                module.__dict__["forward"] = forward\n',
                '                module.__dict__.pop("forward")\n',
            ),
            ("weights stay without gradients", "parameter.requires_grad_(True)", "parameter.requires_grad_(False)"),
            ("weights keep their gradients", "parameter.requires_grad_(False)", "parameter.requires_grad_(True)"),
            ("modules stay in evaluation mode", "module.training = mode", "module.training = False"),
            ("recurrent layers lose their dropout", "layer.dropout = dropout", "layer.dropout = 0.0"),
        ),
    ),
    Source(
        "probe/folding.py",
        ("probe/test_folding.py",),
        (
            ("the norm's mean", "weight, bias, norm.running_mean", "weight, bias, 0 * norm.running_mean"),
            ("the norm's scale", "norm.eps, norm.weight, norm.bias", "norm.eps, None, norm.bias"),
            ("the norm's shift", "norm.eps, norm.weight, norm.bias", "norm.eps, norm.weight, None"),
            ("the norm runs again", "wrappers[fold.norm] = _skipped", "pass"),
            ("what is called twice is folded", "times[call.module] == 1 and _is_plain", "_is_plain"),
            ("what is watched is folded", "return known and not any(", "return known or any("),
            (
                "subclasses are folded",
                "type(module) in (*_CONVOLUTIONS, *_NORMS, nn.Linear) and",
                "isinstance(module, (*_CONVOLUTIONS, *_NORMS, nn.Linear)) and",
            ),
            ("the instance's own forward is folded", 'and "forward" not in module.__dict__', ""),
            ("a bias is lost", "convolve(input, weight, bias)", "convolve(input, weight, None)"),
            ("weights keep their precision", "dtype = dtype or weight.dtype", "dtype = weight.dtype"),
        ),
    ),
    Source(
        "probe/agreement.py",
        ("probe/test_agreement.py",),
        (
            ("anything agrees", "800 * torch.finfo", "800_000_000 * torch.finfo"),
            ("the scale of outputs is not known", "atol=tolerance * scale", "atol=tolerance"),
            ("shapes may differ", "or a.shape != b.shape", ""),
            ("one leaf is enough", "all(_close(a, b)", "any(_close(a, b)"),
        ),
    ),
    Source(
        "probe/collecting.py",
        ("core/test_statistics.py",),
        (
            (
                "more samples than were asked for",
                "slice(most - seen)",
                "slice(most)",
            ),
            ("never enough", "if seen >= most:", "if seen > most:"),
            ("padding counts", 'if layout.name == "TD" and granularity == "channel" else None', "if False else None"),
        ),
    ),
    Source(
        "metrics/degradation.py",
        ("metrics/test_degradation.py",),
        (
            ("the drop's sign", "(self.morf[:, 0] - self.morf[:, -1])", "(self.morf[:, -1] - self.morf[:, 0])"),
            ("the area's sign", "(self.lerf - self.morf).double()", "(self.morf - self.lerf).double()"),
            (
                "the least relevant first",
                "curve(True, counts[1:]), curve(False, counts[1:-1])",
                "curve(False, counts[1:]), curve(True, counts[1:-1])",
            ),
            (
                "the standard error without the drops'",
                "return score + (areas - score * drop) / drop.mean()",
                "return areas / drop.mean()",
            ),
            ("the released mean counts the last point", "curves[:, :-1].mean(1)", "curves.mean(1)"),
            ("the points end early", "round(j * tiles / (points - 1))", "round(j * tiles / points)"),
            ("the released points", "(count + 1 for count in even", "(count for count in even"),
            ("curves by equation 9", "return (morf - bottom) / (top - bottom), (", "return morf / top, ("),
            ("the least relevant curve by equation 9", "(lerf - bottom) / (top - bottom)", "lerf / top"),
        ),
    ),
    Source(
        "metrics/insertion_deletion.py",
        ("metrics/test_insertion_deletion.py",),
        (
            ("the least relevant first", "descending=True", "descending=False"),
            ("insertion deletes", "curve(empty, group.images, counts[:-1])", "curve(group.images, empty, counts[:-1])"),
            ("deletion blurs", "curve(group.images, fill, counts[1:])", "curve(group.images, empty, counts[1:])"),
            ("a last share below 1", "torch.trapezoid(curves, share) / share[:, -1]", "torch.trapezoid(curves, share)"),
            (
                "released: the first point",
                "(curves[:, 1:-1] + curves[:, 2:]) / 2",
                "(curves[:, :-2] + curves[:, 1:-1]) / 2",
            ),
            ("released: no half", "(curves[:, 1:-1] + curves[:, 2:]) / 2", "(curves[:, 1:-1] + curves[:, 2:])"),
            ("released: spaced by one over fewer", "sum(1) / steps.sum(1)", "sum(1) / (steps.sum(1) - 1)"),
            ("deletion's areas are insertion's", "_AREAS)(self.deletion.double()", "_AREAS)(self.insertion.double()"),
            (
                "the score of insertion",
                "return Estimate.of(self.insertion_areas(area))",
                "return Estimate.of(self.deletion_areas(area))",
            ),
        ),
    ),
    Source(
        "metrics/localization.py",
        ("metrics/test_localization.py",),
        (
            ("box: the lowest", "argsort(dim=1, descending=True", "argsort(dim=1, descending=False"),
            ("box: one pixel more", "last = (count - 1).clamp_min(0)", "last = count.clamp_min(0)"),
            (
                "box: ties in the order of places",
                "torch.randperm(inside.shape[1], generator=torch.Generator().manual_seed(seed))",
                "torch.arange(inside.shape[1])",
            ),
            ("box: the seed is not used", "torch.Generator().manual_seed(seed)", "torch.Generator().manual_seed(0)"),
            ("heat: the last threshold", "torch.minimum(thresholds, cap * heat[:, -1:])", "thresholds"),
            ("heat: of the coldest", "counted.flip(1).cumsum(1).flip(1)", "counted.cumsum(1)"),
            ("heat: over all pixels", ".gather(1, start) / (size - start)", ".gather(1, start) / size"),
            (
                "heat: cold pixels' quantiles",
                "place = first + quantiles * (size - first - 1)",
                "place = quantiles * (size - 1)",
            ),
            ("heat: fewer quantiles", "_QUANTILES = 11", "_QUANTILES = 6"),
            ("heat: always weighted", "(heat if weighted else torch.ones_like(heat))", "heat"),
            (
                "heat: quantiles between pixels",
                "torch.lerp(heat.gather(1, below), heat.gather(1, above), place - below)",
                "heat.gather(1, below)",
            ),
            (
                "mass: per pixel inside",
                "(heat * inside).sum(1) / heat.sum(1)",
                "(heat * inside).sum(1) / inside.sum(1)",
            ),
            (
                "pointing: any of several",
                "(highest & reached).sum(1).double() / highest.sum(1)",
                "(highest & reached).any(1).double()",
            ),
            ("pointing: a square around", "<= distance**2).float()", "<= 2 * distance**2).float()"),
            ("auc: a tie is lost", "(lower + not_higher + 1).double() / 2", "(lower + 1).double()"),
            ("auc: a tie is won", "(lower + not_higher + 1).double() / 2", "(not_higher).double()"),
            ("auc: offset", "count * (count + 1) / 2", "count * (count - 1) / 2"),
            ("soft masks", "masks.to(maps.device) > 0.5", "masks.to(maps.device) > 0.95"),
            ("negative values count", "heat = values.clamp_min(0)", "heat = values.abs()"),
        ),
    ),
    Source(
        "metrics/sensitivity_n.py",
        ("metrics/test_sensitivity_n.py",),
        (
            (
                "drops are rises",
                "group.clean[:, None, None] - torch.stack(left, 1)",
                "torch.stack(left, 1) - group.clean[:, None, None]",
            ),
            ("what is left counts", "relevance @ members.T.double()", "relevance @ (~members).T.double()"),
            ("all but the set goes", "tiles.spread(members)", "tiles.spread(~members)"),
            (
                "correlation: sample spread",
                "a_spread, d_spread = a.std(-1, correction=0), d.std(-1, correction=0)",
                "a_spread, d_spread = a.std(-1), d.std(-1)",
            ),
            # Centring one factor of the covariance is enough: leaving out the other mean changes nothing.
            (
                "correlation: not centred",
                "((a - a.mean(-1, keepdim=True)) * (d - d.mean(-1, keepdim=True)))",
                "(a * d)",
            ),
            ("correlation: the covariance", "together / (a_spread * d_spread)", "together / a_spread.square()"),
            ("rounding is a signal", "(d_spread > _SAME_SCORES * scores.abs())", "(d_spread >= 0)"),
            ("constant sums are a signal", "(a_spread > _SAME_SUMS * a.abs().amax(-1))", "(a_spread >= 0)"),
            ("the seed is not used", "default_rng([seed, units, size])", "default_rng([units, size])"),
            ("sets of all sizes from one stream", "default_rng([seed, units, size])", "default_rng([seed, units])"),
            ("drawn again and again", '{"without": False, "with": True}', '{"without": True, "with": True}'),
            ("the sizes of the paper", "np.geomspace(1, 0.8 * units, 16)", "np.geomspace(1, units, 16)"),
            ("the sizes of the InputIBA code", "np.linspace(0, 4.5, 45)", "np.linspace(0, 4.5, 46)"),
            ("probabilities", 'quantity="score"', 'quantity="value"'),
            (
                "pooled: each sample by itself",
                "t.transpose(0, 1).flatten(1) for t in",
                "t.transpose(0, 1)[:, 0] for t in",
            ),
        ),
    ),
    Source(
        "metrics/ssim.py",
        ("metrics/test_ssim.py",),
        (
            ("another range", "data_range=1.0", "data_range=2.0"),
            ("another window", "win_size=window", "win_size=7"),
            ("extremes are kept", "return scaled.clip(0.0, 1.0)", "return scaled"),
            ("all maps share their percentiles", "axis=(1, 2), keepdims=True", "keepdims=True"),
            ("the less alike sign", "np.maximum(likeness", "np.minimum(likeness"),
            ("the negative of the same", "_scaled(-others, percentiles)", "_scaled(others, percentiles)"),
        ),
    ),
    Source(
        "metrics/ranking.py",
        ("metrics/test_ranking.py",),
        (
            ("the other direction", "descending=descending, stable", "descending=not descending, stable"),
            ("one more than asked for", "places[None] < limits[steps]", "places[None] <= limits[steps]"),
            (
                "the border's tiles are padded",
                "ceil_mode=True, count_include_pad=False",
                "ceil_mode=True, divisor_override=self.side**2",
            ),
            ("the seed is not used", "default_rng(seed)", "default_rng(0)"),
            ("ties depend on what follows", '.random(units).argsort(kind="stable")', ".permutation(units)"),
            (
                "tiles repeat in stripes",
                "repeat_interleave(self.side, -2).repeat",
                "repeat(*[1] * (pixels.dim() - 2), self.side, 1).repeat",
            ),
        ),
    ),
    Source(
        "metrics/perturbation.py",
        ("metrics/test_perturbation.py", "metrics/test_degradation.py"),
        (
            (
                "everything else is replaced",
                "torch.where(changed(some), replacement, original)",
                "torch.where(changed(some), original, replacement)",
            ),
            ("the mean of rows", "images.mean((1, 2), keepdim=True)", "images.mean(1, keepdim=True)"),
            ("one mean colour", "images.mean((1, 2), keepdim=True)", "images.mean((1, 2, 3), keepdim=True)"),
            ("a smaller blur", "_BLUR = 29", "_BLUR = 27"),
            (
                "targets of the first group",
                "permuted_targets(targets, samples, batch.count)",
                "permuted_targets(targets, slice(0, samples.stop - samples.start), batch.count)",
            ),
            ("maps of the first group", "maps[samples], samples", "maps[: few.count], samples"),
            ("scores are values", "= getattr(asked, quantity)", "= asked.value"),
        ),
    ),
    Source(
        "metrics/randomisation.py",
        ("metrics/test_randomisation.py",),
        (
            ("the layer itself is spared", "if place >= limit", "if place > limit"),
            ("the first layers first", "sorted(reached, reverse=True)", "sorted(reached)"),
            ("all layers draw the same", "seed * 1_000_003 + number", "seed * 1_000_003"),
            ("the seed is not used", "seed * 1_000_003 + number", "number"),
            ("a layer's last parameters", "return min(used, default=0)", "return max(used, default=0)"),
            (
                "inputiba: spread",
                "nn.init.normal_(module.weight, 0.0, 0.05)",
                "nn.init.normal_(module.weight, 0.0, 0.5)",
            ),
            ("inputiba: convolutions", "nn.init.xavier_uniform_(", "nn.init.xavier_normal_("),
            ("inputiba: biases", "nn.init.zeros_(module.bias)", "nn.init.ones_(module.bias)"),
            ("calibration runs on", "norm.momentum = None", "norm.momentum = 0.1"),
            ("momentum is lost", "norm.momentum = momentum", "norm.momentum = None"),
            ("the network itself", "copy.deepcopy(unwrapped(model))", "unwrapped(model)"),
        ),
    ),
    Source(
        "metrics/estimate.py",
        ("metrics/test_estimate.py",),
        (
            ("the spread of samples", "float(spread) / max(len(kept), 1) ** 0.5", "float(spread)"),
            ("divisor n", "kept.std() if", "kept.std(correction=0) if"),
            ("NaN counts", "values[~values.isnan()]", "values"),
        ),
    ),
    Source(
        "metrics/restricted_accuracy.py",
        ("metrics/test_restricted_accuracy.py",),
        (
            (
                "a tie is a hit",
                "(~(logits < logits.gather(1, index[:, None]))).sum(1) - 1",
                "(logits > logits.gather(1, index[:, None])).sum(1)",
            ),
            ("the first six", "(ahead < 5)", "(ahead < 6)"),
            ("the first two", "(ahead < 1)", "(ahead < 2)"),
            ("sample variance", "(count - 1) / count + first.square()", "+ first.square()"),
            (
                "top 1 and top 5",
                "(clean > 1).double(), (clean > 0).double()",
                "(clean > 0).double(), (clean > 1).double()",
            ),
        ),
    ),
    Source(
        "metrics/retraining.py",
        ("metrics/test_retraining.py",),
        (
            ("the lowest go", "descending=True", "descending=False"),
            ("rounded down", "round(rate * maps", "int(rate * maps"),
            (
                "each part's own colour",
                "remove_top(part.images, part.maps.to(part.images.device), rate, fill)",
                "remove_top(part.images, part.maps.to(part.images.device), rate, part.images.mean((0, 2, 3)))",
            ),
        ),
    ),
    Source(
        "metrics/token_removal.py",
        ("metrics/test_tokens.py",),
        (
            (
                "most and least relevant",
                "Degradation(shares, curve(True), curve(False))",
                "Degradation(shares, curve(False), curve(True))",
            ),
            (
                "insertion and deletion",
                "curve(lambda steps: may_go & ~touched(steps)), curve(touched)",
                "curve(touched), curve(lambda steps: may_go & ~touched(steps))",
            ),
            (
                "drops are rises",
                "clean[:, None, None] - torch.stack(left, 1)",
                "torch.stack(left, 1) - clean[:, None, None]",
            ),
            (
                "what stays goes first",
                "-torch.inf if descending else torch.inf",
                "torch.inf if descending else -torch.inf",
            ),
            ("words count their last token", "total.scatter_add_(", "total.scatter_("),
        ),
    ),
    Source(
        "baselines/changes.py",
        ("baselines/test_changes.py", "metrics/test_tokens.py"),
        (("deleted from the wrong end", "order = (~kept)", "order = kept"),),
    ),
    Source(
        "baselines/asking.py",
        ("metrics/test_perturbation.py", "baselines/test_occlusion.py"),
        (("samples mixed up", ".reshape(steps, samples).T", ".reshape(samples, steps)"),),
    ),
)


def main() -> int:
    """Run the mutants that were asked for; 0 if the tests notice all of them, 1 if not, 2 if nothing can be said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--only", metavar="WORD", default="", help="only mutants whose file or description holds this word"
    )
    parser.add_argument("--jobs", type=int, metavar="N", default=1, help="how many run at once (default 1)")
    options = parser.parse_args()
    mutants = [mutant for mutant in _mutants() if options.only in mutant.name]
    wrong = [mutant.name for mutant in mutants if _text(mutant, ROOT).count(mutant.old) != 1]
    if wrong or not mutants:
        print("no mutant of that name" if not mutants else f"the text to replace must occur once: {'; '.join(wrong)}")
        return 2
    began = time.monotonic()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests are small: threads would only wait for each other
    _FORKED.set_forkserver_preload([*_LIBRARIES])
    with tempfile.TemporaryDirectory(prefix="bitlens-mutants-") as temporary:
        first = _copied(ROOT, Path(temporary) / "0")
        tests = sorted({test for mutant in mutants for test in mutant.source.tests})
        outcome = _tested(first, tests, stop=False, timeout=len(tests) * TIMEOUT)
        if outcome != "SURVIVED":
            print(f"the tests must pass before anything is broken, but: {outcome}")
            return 2
        _forget_compiled(first, mutants)
        folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(options.jobs):
            folders.put(_copied(first, Path(temporary) / str(number)) if number else first)

        def tried(mutant: Mutant) -> str:
            folder = folders.get()
            try:
                return _tried(mutant, folder)
            finally:
                folders.put(folder)

        outcomes = []
        with ThreadPoolExecutor(options.jobs) as pool:
            for mutant, outcome in zip(mutants, pool.map(tried, mutants), strict=True):
                print(f"{outcome:60}  {mutant.name}", flush=True)
                outcomes.append(outcome.startswith("caught"))
    print(f"{sum(outcomes)} of {len(mutants)} caught in {time.monotonic() - began:.0f} s")
    return 0 if all(outcomes) else 1


def _mutants() -> Iterator[Mutant]:
    for source in SOURCES:
        for mutation in source.mutations:
            yield Mutant(source, *mutation)


def _path(mutant: Mutant, folder: Path) -> Path:
    return folder / "src" / "bitlens" / mutant.source.file


def _text(mutant: Mutant, folder: Path) -> str:
    return _path(mutant, folder).read_text("utf-8")


def _copied(source: Path, target: Path) -> Path:
    """What tests need of a repository, elsewhere."""
    for name in ("src", "tests", "tools"):
        shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("*.egg-info"))
    shutil.copy2(source / "pyproject.toml", target)
    return target


def _forget_compiled(folder: Path, mutants: Sequence[Mutant]) -> None:
    """Nothing compiled is left of files that will change: Python tells versions apart by seconds and size alone."""
    for mutant in mutants:
        Path(importlib.util.cache_from_source(_path(mutant, folder))).unlink(missing_ok=True)


def _tried(mutant: Mutant, folder: Path) -> str:
    whole = _text(mutant, folder)
    _path(mutant, folder).write_text(whole.replace(mutant.old, mutant.new), "utf-8")
    try:
        return _tested(folder, mutant.source.tests, stop=True, timeout=TIMEOUT)
    finally:
        _path(mutant, folder).write_text(whole, "utf-8")


def _tested(folder: Path, tests: Sequence[str], *, stop: bool, timeout: float) -> str:
    """What became of the tests in a process of their own: "caught by TEST", "SURVIVED", or what went wrong.

    Args:
        folder: a copy of the repository.
        tests: below its tests.
        stop: whether one failure is enough, and nothing compiled is written.
        timeout: in seconds.
    """
    ours, theirs = _FORKED.Pipe(duplex=False)
    process = _FORKED.Process(
        target=_run, args=(folder, [f"tests/{test}" for test in tests], stop, theirs), daemon=True
    )
    process.start()
    theirs.close()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        return f"caught by the time limit of {timeout:.0f} s"
    try:
        outcome: str = ours.recv() if ours.poll() else f"ENDED with exit code {process.exitcode}"
    except EOFError:
        outcome = f"ENDED with exit code {process.exitcode}"
    return outcome


class _FirstFailure:
    """Remembers the first test that failed."""

    name = ""

    def pytest_runtest_logreport(self, report: object) -> None:
        if getattr(report, "failed", False) and not self.name:
            self.name = getattr(report, "nodeid", "").removeprefix("tests/")


def _run(folder: Path, tests: Sequence[str], stop: bool, told: Connection) -> None:
    """Run tests of a copy in this process, which ends then, and tell the outcome."""
    import pytest

    os.chdir(folder)
    with Path("log.txt").open("w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.dont_write_bytecode = stop
    sys.path.insert(0, str(folder / "src"))
    first = _FirstFailure()
    options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", *(["-x"] if stop else [])]
    code = pytest.main([*options, *tests], plugins=[first])
    if not Path(sys.modules["bitlens"].__file__ or "").is_relative_to(folder):
        told.send("ANOTHER bitlens was tested")
    elif code == pytest.ExitCode.OK:
        told.send("SURVIVED")
    elif code == pytest.ExitCode.TESTS_FAILED and first.name:
        told.send(f"caught by {first.name}")
    else:
        told.send(f"NOT TESTED: pytest says {code!r}")


if __name__ == "__main__":
    sys.exit(main())
