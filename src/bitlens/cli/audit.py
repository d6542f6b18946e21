"""`bitlens audit`: a run packed for someone else to verify, and verified. Heavy imports wait until it runs."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from bitlens.cli import options
from bitlens.errors import BitlensError
from bitlens.system.console import answers, messages, note

_MOST_NOTES = 20
Network = Annotated[
    str | None, typer.Option("--model", help="The network, where it is called otherwise than in the run.")
]
Inputs = Annotated[str | None, typer.Option("--data", help="Where the inputs lie: a folder, or a data set by name.")]


class _AuditGroup(TyperGroup):
    """`bitlens audit DIR` is `bitlens audit pack DIR`."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not {"--help", *self.commands} & set(args[:1]):
            args = ["pack", *args]
        return super().parse_args(ctx, args)


audit_app = typer.Typer(
    cls=_AuditGroup,
    help="Pack a run into one file that someone else can verify: bitlens audit DIR; bitlens audit verify FILE.",
    no_args_is_help=True,
)


class DifferentError(BitlensError):
    """An audit did not come out the same in everything."""


@audit_app.command()
def pack(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What explain or evaluate wrote.")],
    out: Annotated[Path | None, typer.Option("--out", help="The file to write (default: DIR.audit).")] = None,
    model: Network = None,
    weights: options.Weights = None,
    data: Inputs = None,
    use: Annotated[
        str | None, typer.Option("--use", help="What the explanations are meant for, in a sentence.")
    ] = None,
    checked: Annotated[
        int, typer.Option("--checked", min=0, help="How many photos are explained again for the checks.")
    ] = 8,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Pack maps, evidence, settings, what was learnt, fingerprints and checks into one file, with a page for people."""
    from bitlens.reports.audit import pack_audit

    place = out if out is not None else folder.resolve().with_name(f"{folder.resolve().name}.audit")
    with messages.status("packing"):
        chosen: dict[str, Any] = {"use": use} if use is not None else {}
        made = pack_audit(
            folder, place, model=model, weights=weights, data=data, device=options.device_name(device), checked=checked, **chosen
        )  # fmt: skip
    if as_json:
        print(json.dumps({**vars(made), "file": str(made.file), "page": str(made.page)}, ensure_ascii=False))
        return
    counted = ", ".join(f"{n:,} {what}" for n, what in ((made.maps, "maps"), (made.rows, "measurements")) if n)
    answers.print(f"{made.file}: {counted}; for people: {made.page}", soft_wrap=True, highlight=False, markup=False)
    answers.print(f"seal {made.seal}", soft_wrap=True, highlight=False, markup=False)
    for text in made.limits:
        note(text)


@audit_app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `bitlens audit DIR` wrote.")],
    model: Network = None,
    weights: options.Weights = None,
    data: Inputs = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> None:
    """Check every byte of an audit, compute its maps and metrics again, and name what differs."""
    from bitlens.reports.audit_verify import verify_audit

    with messages.status("verifying"):
        found = verify_audit(file, model=model, weights=weights, data=data, device=options.device_name(device))
    if as_json:
        print(json.dumps({**vars(found), "good": found.good}, ensure_ascii=False))
    else:
        for text in found.notes:
            note(text)
        for text in found.problems[:_MOST_NOTES]:
            answers.print(f"differs: {text}", soft_wrap=True, highlight=False, markup=False)
        if len(found.problems) > _MOST_NOTES:
            answers.print(f"and {len(found.problems) - _MOST_NOTES} more; --json has them all", highlight=False)
        counts = ((found.verified_maps, found.maps, "maps"), (found.verified_rows, found.rows, "measurements"))
        said = ", ".join(f"{good:,} of {all_:,} {what}" for good, all_, what in counts if all_)
        answers.print(
            f"verified: {said}; the largest difference is {found.largest:.2%} of what is tolerated",
            soft_wrap=True,
            highlight=False,
        )
    if not found.good:
        raise DifferentError(f"{file} could not be verified: {len(found.problems)} things differ")
