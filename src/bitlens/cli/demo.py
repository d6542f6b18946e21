"""`bitlens demo`: the bundled network and scenes, nothing to download."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bitlens.cli import early, options
from bitlens.system.console import answers, messages, results_table


def demo(
    out: options.Out = Path("bitlens-demo"),
    scenes: Annotated[
        int, typer.Option("--scenes", min=1, max=64, help="How many scenes, or inputs of another kind.")
    ] = 8,
    kind: Annotated[
        Literal["scene", "signal", "volume", "table"], typer.Option("--kind", help="What is explained.")
    ] = "scene",
    device: options.Device = "auto",
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Explain generated scenes, signals, volumes or rows of a table with bundled networks: nothing to download."""
    early.check(out=out)
    if kind != "scene":
        _planted(out, kind, scenes, device, seed, as_json)
        return
    from bitlens.explaining.demo import run_demo
    from bitlens.explaining.summary import write_summary

    with messages.status("starting") as status:
        done = run_demo(
            out, scenes, device=options.device_name(device), seed=seed, progress=lambda step: status.update(f"{step} …")
        )
    rows = [row for scene in done.scenes for row in scene.rows()]
    settings = {
        "command": ["demo", "--scenes", scenes],
        "model": "builtin/scenes",
        "methods": {one.ready.label: one.ready.settings() for one in done.scenes[0].explained.found},
        "seconds": dict(done.seconds),
    }
    write_summary(rows, settings, out / "summary.json")
    if options.printed_as_json(as_json, rows):
        return
    answers.print(results_table(rows))
    each = ", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in done.seconds.items())
    answers.print(f"a map takes {each}: the readout is {done.ratio:.0f} times cheaper", soft_wrap=True)
    answers.print(f"pictures, maps and summary.json are in {out}/ (begin with {out}/sheet.png)", soft_wrap=True)


def _planted(out: Path, kind: str, count: int, device: options.Where, seed: int, as_json: bool) -> None:
    """Explain generated inputs of another kind, and say how much of what is planted was found."""
    from bitlens.explaining.planted_demo import run_planted_demo
    from bitlens.explaining.summary import write_summary

    with messages.status("starting") as status:
        done = run_planted_demo(
            out,
            kind,
            count,
            device=options.device_name(device),
            seed=seed,
            progress=lambda step: status.update(f"{step} …"),
        )
    settings = {
        "command": ["demo", "--kind", kind, "--scenes", count],
        "model": done.model,
        "methods": {done.ready.label: done.ready.settings()},
    }
    write_summary(done.rows, settings, out / "summary.json")
    if options.printed_as_json(as_json, done.rows):
        return
    answers.print(results_table(done.rows, photos=False))
    answers.print(
        f"pictures, maps and summary.json are in {out}/ (begin with {out}/{done.rows[0]['files']}.png)", soft_wrap=True
    )
