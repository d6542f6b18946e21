"""The training loop: what it does to samples, how it goes on, when it stops."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from line import Line, PowerCutError, losses_of, points, settings

from bitlens.errors import DependencyError, FitError, SettingError
from bitlens.training.curve import draw_curve, write_curve
from bitlens.training.loop import _Loop, train
from bitlens.training.settings import cosine


def test_it_learns_and_keeps_the_best_epoch():
    line = Line()
    done = train(line, points(), settings(epochs=40))
    assert done.rows[-1].train["loss"] < 0.1 * done.rows[0].train["loss"]
    best = min(done.rows, key=lambda row: row.held_out["loss"])
    assert done.best_epoch == best.epoch
    assert (done.samples, done.held_out) == (32, 10)
    assert done.rows[0].steps == 4
    again = train(Line(), points(), settings(epochs=40))
    assert losses_of(again) == losses_of(done)


def test_the_network_is_left_as_a_plain_module():
    line = Line()
    train(line, points(), settings(epochs=1, precision="bf16"))
    assert "forward" not in line.module.__dict__
    assert all(parameter.dtype == torch.float32 for parameter in line.module.parameters())
    train(Line(), points(), settings(epochs=1))  # another precision in the same process


def test_lower_precision_is_told_to_the_task():
    line = Line()
    train(line, points(), settings(epochs=1, precision="bf16"))
    assert {dtype for _, _, dtype in line.seen} == {torch.bfloat16}


def test_what_is_kept_changes_nothing():
    keeping, forgetting = Line(), Line()
    kept = train(keeping, points(), settings())
    fresh = train(forgetting, points(), settings(memory=0.0))
    assert losses_of(kept) == losses_of(fresh)
    assert keeping.prepared == 4 + 2
    assert forgetting.prepared == 4 * (4 + 2)


def test_parts_of_a_batch_are_the_batch():
    whole, parts = (train(Line(), points(), settings(accumulation=n)) for n in (1, 4))
    for a, b in zip(whole.rows, parts.rows, strict=True):
        assert b.train["loss"] == pytest.approx(a.train["loss"], rel=1e-5)
        assert b.held_out["loss"] == pytest.approx(a.held_out["loss"], rel=1e-5)
        assert a.steps == b.steps


def test_the_order_changes_from_epoch_to_epoch():
    line = Line()
    train(line, points(), settings(epochs=3))
    orders = {tuple(names for at, names, _ in line.seen if at == epoch) for epoch in range(3)}
    assert len(orders) > 1
    assert len({frozenset(order) for order in orders}) == 1


@pytest.mark.parametrize("stop_at", [3, 7, 11])
def test_a_training_goes_on_exactly_where_it_was(tmp_path, stop_at):
    undisturbed = train(Line(), points(), settings())
    place, steps = tmp_path / "checkpoint.safetensors", [0]

    def cut(_moment):
        steps[0] += 1
        if steps[0] == stop_at:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        train(Line(), points(), settings(checkpoint_steps=2), checkpoint=place, progress=cut)
    assert not list(tmp_path.glob(".bitlens*"))
    line = Line()
    resumed = train(line, points(), settings(checkpoint_steps=2), checkpoint=place)
    assert losses_of(resumed) == losses_of(undisturbed)
    longer = train(Line(), points(), settings(epochs=6), checkpoint=place)
    assert losses_of(longer) == losses_of(train(Line(), points(), settings(epochs=6)))


def test_the_learning_rate_rises_and_falls():
    rates = [cosine(step, 200) for step in range(200)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[105] == pytest.approx(0.5, abs=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-3
    assert cosine(0, 1) == 1.0


def test_a_schedule_is_followed_and_goes_on_where_it_was(tmp_path):
    rates = []

    def told(_moment):
        rates.append(loop.optimizer.param_groups[0]["lr"])

    chosen = settings(schedule="cosine")
    loop = _Loop(Line(), points(), chosen, None)
    whole = loop.run(told)
    assert rates == pytest.approx([0.01 * cosine(step, 16) for step in range(16)])
    place, steps = tmp_path / "checkpoint.safetensors", [0]

    def cut(_moment):
        steps[0] += 1
        if steps[0] == 7:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        train(Line(), points(), replace(chosen, checkpoint_steps=2), checkpoint=place, progress=cut)
    assert losses_of(train(Line(), points(), chosen, checkpoint=place)) == losses_of(whole)
    with pytest.raises(SettingError, match="epochs was 4, now 6"):
        train(Line(), points(), replace(chosen, epochs=6), checkpoint=place)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    place = tmp_path / "checkpoint.safetensors"
    train(Line(), points(), settings(epochs=1), checkpoint=place)
    with pytest.raises(SettingError, match=r"learning_rate was 0\.01, now 0\.02"):
        train(Line(), points(), settings(learning_rate=0.02), checkpoint=place)
    with pytest.raises(SettingError, match="samples was 32, now 40"):
        train(Line(), points(58), settings(), checkpoint=place)


def test_it_ends_when_it_gets_no_better():
    done = train(Line(), points(), settings(epochs=50, learning_rate=1e-9, patience=2))
    assert len(done.rows) - done.best_epoch == 2
    assert len(done.rows) < 50


def test_without_held_out_samples_the_training_loss_decides():
    done = train(Line(), points(), settings(held_out=0.0))
    assert done.held_out == 0
    assert done.rows[0].held_out == {}
    assert done.best_epoch == min(done.rows, key=lambda row: row.train["loss"]).epoch


def test_a_number_that_is_not_finite_stops_it_at_once():
    line = Line(poison=1)
    with pytest.raises(FitError, match="training stopped in epoch 2: poisoned at sample"):
        train(line, points(), settings())
    assert sum(epoch == 1 for epoch, _, _ in line.seen) == 1


def test_a_gradient_that_is_not_finite_is_named():
    line = Line()
    with torch.no_grad():
        line.module[2].weight.zero_()
        line.module[2].bias.zero_()
    losses = line.losses

    def rooted(*arguments):
        found = losses(*arguments)
        return replace(found, total=found.total.detach() + (line.module[2].weight * 0).sum().sqrt())

    line.losses = rooted
    with pytest.raises(FitError, match=r"gradient of 2\.weight is not finite at element \(0, 0\)"):
        train(line, points(), settings())


def test_without_accelerate_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.setattr("bitlens.system.optional.find_spec", lambda _: None)
    with pytest.raises(DependencyError, match=r"'accelerate': install it with  pip install 'bitlens\[train\]'"):
        train(Line(), points(), settings())


def test_the_curve_is_written_and_drawn(tmp_path):
    done = train(Line(), points(), settings())
    write_curve(done.rows, tmp_path / "curve.json", {"what": "a line"})
    kept = json.loads((tmp_path / "curve.json").read_text())
    assert kept["what"] == "a line"
    assert [row["held_out"]["loss"] for row in kept["epochs"]] == [row.held_out["loss"] for row in done.rows]
    draw_curve(done.rows, tmp_path / "curve.png", "a line")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_two_processes_are_as_one(tmp_path):
    """The same losses and weights at the same batch, whoever computes which part of it."""
    script, out = Path(__file__).with_name("line.py"), tmp_path / "two.json"
    options = "--cpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"
    command = [sys.executable, "-m", "accelerate.commands.launch", *options.split(), script, out]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_LOG_LEVEL": "error"}
    command.append(json.dumps({"accumulation": 2}))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    two = json.loads(out.read_text())
    line = Line()
    one = train(line, points(), settings())
    for (train_one, held_one), (train_two, held_two) in zip(losses_of(one), two["losses"], strict=True):
        assert train_two == pytest.approx(train_one, rel=1e-5)
        assert held_two == pytest.approx(held_one, rel=1e-5)
    for name, value in line.module.state_dict().items():
        torch.testing.assert_close(torch.tensor(two["weights"][name]), value, rtol=1e-4, atol=1e-6)
