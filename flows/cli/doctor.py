"""The command of those who look after a Slipway: doctor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import say, say_json
from flows.cli.shared import AsJson

if TYPE_CHECKING:
    from flows.doctor.rules.symptom import Remedy, Symptom


def add_commands(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(doctor)


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Do what is safe; the rest is left to you.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what does not fit together between registry, cluster, Helm, nodes and Prefect, with the command that mends it.

    `--fix` does only what is safe whatever has happened since: it looks again first, ends what runs that are over have left, and takes
    nothing away that serves. Exit code: 0 nothing found (or nothing left), 1 something.
    """
    import asyncio

    from flows.cli.console import PlainConsole
    from flows.doctor.gather import gather
    from flows.doctor.rules import symptoms
    from flows.doctor.rules.registry import told as told_of_registry
    from flows.spec import Deployments

    deployments, told = Deployments.default(), PlainConsole(error=True)
    with told.status("Looking at Prefect, the registry and every environment ..."):
        facts = asyncio.run(gather(deployments))
    found = symptoms(facts)
    if facts.registry is not None:
        # Beside the list, which scripts read.
        say(told_of_registry(facts.registry), error=as_json)
    # Several symptoms may have one remedy.
    mended = {remedy: _mended(remedy) for remedy in dict.fromkeys(each.remedy for each in found) if fix and remedy is not None}
    done = {symptom: mended[symptom.remedy] for symptom in found if symptom.remedy in mended}
    left = [symptom for symptom in found if not done.get(symptom, ("", False))[1]]
    if as_json:
        lines = [
            {
                "kind": symptom.kind,
                "about": symptom.about,
                "sentence": symptom.message,
                "command": symptom.command,
                "fixable": symptom.remedy is not None,
                "fixed": done[symptom][1] if symptom in done else None,
                "done": done[symptom][0] if symptom in done else None,
            }
            for symptom in found
        ]
        say_json(lines, indent=2)
    else:
        _show(found, {symptom: said for symptom, (said, _) in done.items()})
    sys.exit(1 if left else 0)


def _mended(remedy: Remedy) -> tuple[str, bool]:
    """What was done, and whether it was."""
    import asyncio

    from blocks.errors import PipelineError
    from flows.doctor.mend import mend
    from flows.spec import Deployments

    try:
        return asyncio.run(mend(Deployments.default(), remedy)), True
    except PipelineError as exc:
        return f"not done: {exc.message}", False


def _show(found: list[Symptom], done: dict[Symptom, str]) -> None:
    from rich.table import Table

    from flows.cli.console import PlainConsole

    console = PlainConsole()
    if not found:
        console.print("Everything fits together.")
        return
    table = Table("what", show_edge=False)
    table.add_column("is seen", overflow="fold", ratio=2)
    table.add_column("done" if done else "to mend it", overflow="fold", ratio=1)
    for symptom in found:
        table.add_row(symptom.kind, symptom.message, done.get(symptom, symptom.command))
    console.print(table)
