"""The `slipway` command: thin over flows and registry. Everything slow to import is imported by the command that needs it."""

from __future__ import annotations

import getpass
import logging
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blocks.errors import PipelineError
from blocks.wording import visible
from flows.cli.approvals import add_commands as add_approvals
from flows.cli.canary import canary_app
from flows.cli.console_client import console_client
from flows.cli.doctor import add_commands as add_doctor
from flows.cli.fit import add_commands as add_fit
from flows.cli.operators import add_commands as add_operators
from flows.cli.output import say, say_exactly, say_json
from flows.cli.serve import serve
from flows.cli.shared import AsJson, no_text, open_registry, require_prefect
from flows.cli.tokens import token_app
from flows.errors import Refusal, SpecInvalid

if TYPE_CHECKING:
    from uuid import UUID

    from flows.cli.console_client import ConsoleClient
    from flows.runtime.client import Progress

app = typer.Typer(
    help="Takes a language model from a Hugging Face revision to production on vLLM and Kubernetes, and proves what it did.",
    no_args_is_help=True,
    # Typer's own tracebacks can show local variables, and these can be secrets.
    pretty_exceptions_enable=False,
    add_completion=False,
)

#: Exit codes. 2 is a wrong command line, by custom; 4 a verification that could not tell.
FAILED, WRONG, ERRORED, INCONCLUSIVE = 1, 2, 3, 4

#: By the name of the state that a run ends in; a run that was cancelled did not do what was asked.
_EXIT_CODES = {"Failed": FAILED, "Cancelled": FAILED, "Errored": ERRORED, "Crashed": ERRORED, "Inconclusive": INCONCLUSIVE}


@app.command()
def demo(
    approve: Annotated[bool, typer.Option("--approve", help="Approve by itself, get a completion, and end.")] = False,
    state: Annotated[Path | None, typer.Option(help="Folder for everything that the demo writes.")] = None,
) -> None:
    """Run a release on this machine, on stand-ins for a cluster, GPUs and the hub."""
    from flows.cli.demo import run_demo

    sys.exit(run_demo(approve=approve, state=state))


@app.command()
def release(
    model: Annotated[str, typer.Argument(help="A model of deployments/models.")],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the hub.")] = "main",
    environment: Annotated[list[str] | None, typer.Option(help="Release to this environment only; may be repeated.")] = None,
    requester: Annotated[str | None, typer.Option("--as", help="Who asks for it; your login name if left out.")] = None,
    keep_failed: Annotated[bool, typer.Option(help="Leave what failed for inspection, where nothing served before.")] = False,
    wait: Annotated[bool, typer.Option(help="Follow the run until it ends or waits for approval.")] = True,
    as_json: AsJson = False,
) -> None:
    """Release a model's hub revision through the environments.

    Exit code: 0 done, or waiting for approval; 1 failed: Slipway said no; 2 the command line is wrong; 3 errored: a technical fault;
    4 inconclusive: verification could not tell.
    """
    if (console := console_client()) is not None:
        _by_console(console, "releases", _wanted(model, revision, environment, requester, keep_failed=keep_failed), wait, as_json)
        return
    parameters = {
        "model": model,
        "revision": revision,
        "environments": environment or [],
        # Only a claim: who somebody is, the approvers' codes prove (docs/identity.md).
        "requester": requester or getpass.getuser(),
        "keep_failed": keep_failed,
    }
    _run("release/release", parameters, wait, as_json)


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="A model of deployments/models.")],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the hub.")] = "main",
    environment: Annotated[list[str] | None, typer.Option(help="Plan for this environment only; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a release would do and everything that speaks against it; touches nothing."""
    if (console := console_client()) is not None:
        _by_console(console, "plans", _wanted(model, revision, environment, None), True, as_json)
        return
    require_prefect()

    from rich.markdown import Markdown

    from flows.cli.console import PlainConsole
    from flows.naming import release_name
    from flows.runtime import client
    from flows.text.markdown import text_of

    run_id, seen = _follow("plan/plan", {"model": model, "revision": revision, "environments": environment or []}, quiet=True)
    key = release_name(model, "plan")
    if as_json:
        rows = {name: client.artifact(run_id, f"{key}-{name}") or [] for name in ("model", "environments")}
        tables = {name: [{key: text_of(cell) for key, cell in row.items()} for row in table] for name, table in rows.items()}
        found = {name: [{**row, "refusals": row["refusals"].splitlines()} for row in table] for name, table in tables.items()}
        document = {"run": str(run_id), "state": seen.state, "message": seen.message, "model": next(iter(found["model"]), None)}
        say_json({**document, "environments": found["environments"]})
    elif (page := client.artifact(run_id, key)) is not None:
        PlainConsole().print(Markdown(page, hyperlinks=False))
    _end(seen)


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(help="A model of deployments/models.")],
    environment: Annotated[str, typer.Argument(help="The environment to roll back.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the registry.")],
    actor: Annotated[str | None, typer.Option("--as", help="Who asks for it; kept in the registry. A console knows it.")] = None,
    to: Annotated[str | None, typer.Option(help="Fingerprint to go back to (12 characters or more).")] = None,
    wait: Annotated[bool, typer.Option(help="Follow the run until it ends.")] = True,
    as_json: AsJson = False,
) -> None:
    """Take an environment back to the candidate that was verified there before. Says first what it goes back to."""
    from flows.cli.by_console import named

    console = console_client()
    who = named(actor, console)
    if console is not None:
        _by_console(console, "rollbacks", {"model": model, "environment": environment, "reason": reason, "to": to}, wait, as_json)
        return
    if not as_json:
        _announce(model, environment, to)
    parameters = {"model": model, "environment": environment, "reason": reason, "actor": who, "to": to}
    _run("rollback/rollback", parameters, wait, as_json)


@app.command()
def status(
    model: Annotated[str | None, typer.Argument(help="A model; all without.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what serves where, by the registry."""
    from flows.cli.status import status_lines

    if (console := console_client()) is not None:
        from flows.cli import by_console

        entries = by_console.entries(console, model)
    else:
        with open_registry() as registry:
            entries = registry.entries(model=model)
    if as_json:
        lines = [
            {
                "model": entry.model,
                "environment": entry.environment,
                "status": entry.status,
                "reason": entry.status_reason,
                "candidate": entry.fingerprint,
                "hub_revision": entry.hub_revision,
                "helm_revision": entry.helm_revision,
                "git_commit": entry.git_commit,
                "endpoint": entry.endpoint,
                "verified_at": entry.verified_at.isoformat() if entry.verified_at else None,
                "last_health_check_at": entry.last_health_check_at.isoformat() if entry.last_health_check_at else None,
            }
            for entry in entries
        ]
        say_json(lines, indent=2)
        return
    for line in status_lines(entries) if entries else ["Nothing has been released yet."]:
        say(line)


@app.command()
def evidence(
    which: Annotated[str, typer.Argument(help="The evidence's SHA-256 (eight digits or more), a run's id, or the name of one that waits.")],
    environment: Annotated[str | None, typer.Option(help="Of a run: the environment; the last one without.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the page, which needs no network, to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a verification measured, and by what it was judged."""
    from flows.cli import evidence as kept

    with open_registry() as registry:
        found = kept.find(registry, which, environment)
        if html is not None:
            page = kept.page(registry, found)
            try:
                html.write_text(page, encoding="utf-8")
            except OSError as exc:
                raise SpecInvalid(f"{html} cannot be written: {exc.strerror}.") from exc
    if as_json:
        # Canonical, as it was hashed: `slipway evidence HASH --json | head -c -1 | sha256sum` gives the hash again.
        say_exactly(found.canonical)
    elif html is not None:
        say(f"Wrote {html}: open it in a browser.")
    else:
        from flows.cli.console import PlainConsole

        kept.show(found, PlainConsole())


@app.command()
def migrate(
    block: Annotated[str | None, typer.Option("--block", help="Another registry block: of a user who owns the tables.")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the registry's tables up to date; safe to repeat."""
    with open_registry(block) as registry:
        applied = registry.migrate()
    if as_json:
        say_json({"applied": applied})
        return
    for line in [f"applied {name}" for name in applied] or ["Nothing to apply."]:
        say(line)


def _announce(model: str, environment: str, to: str | None) -> None:
    """Say what a rollback takes the place of, and what comes back, as far as the registry can be asked from here."""
    with suppress(PipelineError), open_registry() as registry:
        current, previous = registry.current(model, environment), registry.previous(model, environment)
        now = f"candidate {(current.fingerprint or '')[:12]} ({current.status})" if current is not None else "nothing that is routed"
        if to is not None:
            say(f"{model} in {environment}: {now} → candidate {to[:12]}")
        elif previous is not None:
            back = f"candidate {(previous.fingerprint or '')[:12]}, verified {previous.event.occurred_at:%Y-%m-%d %H:%M}Z"
            say(f"{model} in {environment}: {now} → {back}")


def _run(deployment: str, parameters: dict[str, Any], wait: bool, as_json: bool) -> None:
    run_id, seen = _follow(deployment, parameters, quiet=as_json, wait=wait)
    if as_json:
        steps = [{"name": step.name, "state": step.state, "seconds": round(step.seconds, 3)} for step in seen.steps]
        say_json({"run": str(run_id), "name": seen.name, "state": seen.state, "message": seen.message, "steps": steps})
    elif seen.suspended:
        say(f"It waits for approval there, or: slipway approve {run_id} --as NAME")
    elif seen.final and seen.succeeded:
        say(f"{seen.name}: done.")
    _end(seen)


def _wanted(model: str, revision: str, environment: list[str] | None, requester: str | None, **more: bool) -> dict[str, Any]:
    if requester is not None:
        raise SpecInvalid("--as is not for use with SLIPWAY_URL: the console knows by your token who you are.")
    return {"model": model, "revision": revision, "environments": environment or [], **more}


def _by_console(console: ConsoleClient, what: str, body: dict[str, Any], wait: bool, as_json: bool) -> None:
    from flows.cli import by_console

    state, message = by_console.run(console, what, body, wait=wait, as_json=as_json)
    if state:
        say(f"{state}: {message}", error=True)
        sys.exit(_EXIT_CODES.get(state, FAILED))


def _follow(deployment: str, parameters: dict[str, Any], *, quiet: bool, wait: bool = True) -> tuple[UUID, Progress]:
    """Start a run and follow it until it ends or waits; `quiet` keeps the standard output for what it finds."""
    require_prefect()

    from flows.cli import follow
    from flows.cli.console import PlainConsole
    from flows.runtime import client

    run_id = client.start(deployment, parameters)
    say(f"Run {run_id}: {client.run_page(run_id)}", error=quiet)
    return run_id, follow.Follower(run_id, PlainConsole(error=quiet)).until(follow.stopped) if wait else client.progress(run_id)


def _end(seen: Progress) -> None:
    """Say why a run failed, and exit with 1 if it did."""
    if seen.final and not seen.succeeded:
        say(f"{seen.state}: {seen.message}", error=True)
        sys.exit(_EXIT_CODES.get(seen.state, FAILED))


app.command()(serve)
app.add_typer(canary_app, name="canary")
app.add_typer(token_app, name="token")
add_approvals(app)
add_operators(app)
add_doctor(app)
add_fit(app)


def _odd_option(argument: str) -> str | None:
    """The name of an option with signs that no option has, which end lines, or command a terminal; none if it is none of these."""
    found = re.match(r"-{1,2}[^\s=]+", argument)
    return found[0] if found is not None and visible(found[0]) != found[0] else None


def main() -> None:
    """Run the command; an error of ours is one sentence and an exit code."""
    # Prefect tells its server of every block that is loaded, and warns at the end of a short command that it is still telling.
    logging.getLogger("EventsWorker").setLevel(logging.ERROR)
    if wrong := next(no_text(sys.argv[1:]), None):
        say(f"slipway: the argument {wrong!r} is not UTF-8 text.", error=True)
        sys.exit(WRONG)
    # The parser would quote it as it is.
    if (odd := next(filter(None, map(_odd_option, sys.argv[1:])), None)) is not None:
        say(f"slipway: there is no option {odd[:100]}.", error=True)
        sys.exit(WRONG)
    try:
        app()
    except PipelineError as exc:
        say(f"slipway: {exc.message}", error=True)
        sys.exit(FAILED if isinstance(exc, Refusal) else ERRORED)


if __name__ == "__main__":
    main()
