"""The commands of approvers and auditors: approve, reject, approvals, approver, audit, automations."""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blocks.facts.kinds import EventKind
from flows.cli.archive import archive
from flows.cli.console_client import console_client
from flows.cli.output import say, say_exactly, say_json
from flows.cli.shared import AsJson, open_registry, require_prefect
from flows.errors import SpecInvalid

if TYPE_CHECKING:
    from blocks.registry import AuditReport, ChainHead

approver_app = typer.Typer(help="Who may approve.", no_args_is_help=True)
audit_app = typer.Typer(help="The record of what happened.", no_args_is_help=True)

Run = Annotated[str, typer.Argument(help="The suspended run: its id, or its name.")]
Code = Annotated[str | None, typer.Option(help="The code that your authenticator shows now; asked for if left out.")]


def add_commands(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (approve, reject, approvals, automations):
        app.command()(command)
    app.add_typer(approver_app, name="approver")
    audit_app.command()(archive)
    app.add_typer(audit_app, name="audit")


def approve(
    run: Run,
    approver: Annotated[str | None, typer.Option("--as", help="Who approves: a name of approvers.yaml; a console knows it.")] = None,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    code: Code = None,
    emergency: Annotated[bool, typer.Option("--emergency", help="Pass a freeze; two approvers must, and it is recorded.")] = False,
) -> None:
    """Approve a suspended release: the same form as in the Prefect UI."""
    _answer(run, "approve-emergency" if emergency else "approve", approver, reason, code)


def reject(
    run: Run,
    reason: Annotated[str, typer.Option(help="Why.")],
    approver: Annotated[str | None, typer.Option("--as", help="Who rejects: a name of approvers.yaml; a console knows it.")] = None,
    code: Code = None,
) -> None:
    """Reject a suspended release: it ends as failed, and the reason is recorded."""
    _answer(run, "reject", approver, reason, code)


def _answer(run: str, decision: str, approver: str | None, reason: str, code: str | None) -> None:
    from flows.cli import by_console

    console = console_client()
    who = by_console.named(approver, console)
    if console is not None:
        by_console.answer(console, run, decision, reason, code)
        return
    require_prefect()

    from flows.runtime import client
    from flows.runtime.prefect_api import PrefectApi
    from flows.runtime.waiting import waiting_run

    run_id = waiting_run(PrefectApi(), run)
    # Asked for last, since a code is shown for half a minute only.
    given = code or str(typer.prompt("One-time code", hide_input=True))
    client.resume(run_id, {"decision": decision, "approver": who, "code": given, "reason": reason})
    say(f"The run wakes up and checks the answer: {client.run_page(run_id)}")
    say("If it is not accepted, the form opens again and says why; slipway approvals shows what waits.")


def approvals(as_json: AsJson = False) -> None:
    """Show which releases wait for approval, for how long they still do, and who has approved."""
    if (console := console_client()) is not None:
        from flows.cli import by_console

        rows = by_console.requests(console)
    else:
        rows = _recorded()
    if as_json:
        say_json(rows, indent=2)
        return
    for row in rows:
        until = f"{datetime.fromisoformat(row['expires_at']).astimezone(UTC):%Y-%m-%d %H:%M}Z" if row["expires_at"] else "nobody knows when"
        people = ", ".join(map(str, row["approved_by"])) or "nobody yet"
        say(f"{row['model']} to {row['environment']}: candidate {str(row['candidate'])[:12]}, asked for by {row['requester']}")
        if row["step"]:
            say(f"  before {row['step']} of its canary")
        say(f"  run {row['run']}, waits until {until}, approved by {people}")
        if row["frozen_until"]:
            say(f"  frozen until {row['frozen_until']}")
    if not rows:
        say("Nothing waits for approval.")


def _recorded() -> list[dict[str, Any]]:
    """What waits for approval, by the registry."""
    with open_registry() as registry:
        waiting = registry.approvals.open_requests()
        answered = {request.id: registry.approvals.events(request.run_id or "", str(request.detail["gate"])) for request in waiting}
    rows = []
    for request in waiting:
        hours = float(str(request.detail["request_hours"]))
        rows.append(
            {
                "run": request.run_id,
                "model": request.model,
                "environment": request.environment,
                "candidate": request.fingerprint,
                "requester": request.detail.get("requester"),
                "step": request.detail.get("step") or "",
                "since": request.occurred_at.isoformat(),
                "expires_at": (request.occurred_at + timedelta(hours=hours)).isoformat(),
                "frozen_until": request.frozen_until.isoformat() if request.frozen_until else None,
                "approved_by": [event.actor for event in answered[request.id] if event.kind == EventKind.APPROVED],
            }
        )
    return rows


def automations() -> None:
    """Make or update the Prefect automations of deployments/automations: who is told about approvals."""
    require_prefect()

    from flows.runtime.automations import apply_automations
    from flows.spec import Deployments

    for line in apply_automations(Deployments.default().root / "automations") or ["There are no automations."]:
        say(line)


@approver_app.command()
def enroll(
    name: Annotated[str, typer.Argument(help="A name of deployments/approvers.yaml.")],
    secret_file: Annotated[
        Path | None, typer.Option(help="Write the secret to this new file (for a Kubernetes Secret) instead of a Prefect block.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the authenticator that the approver has.")] = False,
) -> None:
    """Give an approver an authenticator: shows a QR code to scan, once."""
    require_prefect()

    from blocks.authenticators import read_authenticator, save_authenticator
    from flows.approval.totp import new_secret, provisioning_uri
    from flows.runtime.client import prefect_client
    from flows.spec import Deployments

    known = Deployments.default().approvers()
    if known.find(name) is None:
        names = ", ".join(approver.name for approver in known.approvers) or "nobody"
        raise SpecInvalid(f"{name!r} is not an approver: deployments/approvers.yaml names {names}. Add the approver there first.")
    secret = new_secret()
    with open_registry() as registry:
        if secret_file is not None:
            _write_secret(secret_file, secret)
            kept = f"{secret_file}; delete it when it is in the Kubernetes Secret"
        else:
            with prefect_client():
                if read_authenticator(name) is not None and not replace:
                    raise SpecInvalid(f"{name} has an authenticator already; --replace takes it out of use and gives a new one.")
                kept = f"the Prefect block secret/{save_authenticator(name, secret)}"
        registry.events.add(EventKind.APPROVER_ENROLLED, detail={"approver": name, "replaced": replace})
    _show_secret(provisioning_uri(secret, name))
    say(f"Kept in {kept}.")


def _write_secret(path: Path, secret: str) -> None:
    try:
        # A new file only, and nobody else's to read from its first byte on.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        raise SpecInvalid(f"The secret cannot be written to {path}: {exc.strerror}; name a new file.") from exc
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)


def _show_secret(uri: str) -> None:
    import segno

    say("Scan this with an authenticator app now; it is not shown again.")
    say()
    segno.make(uri, error="m").terminal(compact=True)
    say()
    say(uri)
    say()


@audit_app.command()
def verify(
    expect: Annotated[
        str | None, typer.Option(help="POSITION:HASH, as an earlier verification printed it: the record must still hold it.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="An export: it alone is checked, and nothing is asked of a registry.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compute the chains of events again, and name the first one that was altered, removed or replaced."""
    from blocks.registry import ChainHead

    expected = None
    if expect is not None:
        position, _, digest = expect.partition(":")
        if not re.fullmatch(r"[0-9]{1,18}", position) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise SpecInvalid(f"--expect {expect[:100]!r} is not POSITION:HASH; take it from an earlier slipway audit verify.")
        expected = ChainHead(position=int(position), hash=digest)
    report = _of_file(file, expected) if file is not None else _of_registry(expected)
    if as_json:
        moment = report.unsealed_since.isoformat() if report.unsealed_since else None
        archives = [{"sha256": each.sha256, "events": each.events} for each in report.archives]
        sealed = {"events": report.events, "unsealed": report.unsealed, "unsealed_since": moment, "archives": archives}
        say_json(
            {"holds": report.broken is None, "broken": report.broken, "position": report.head.position, "hash": report.head.hash, **sealed}
        )
    elif report.broken is None:
        if report.unsealed_since is not None:
            since = f"{report.unsealed_since:%Y-%m-%d %H:%M:%S}Z"
            say(f"Not sealed yet: {report.unsealed} events, since {since}. The sweep seals them, or slipway audit seal.")
        for archived in report.archives:
            say(f"{archived.events} more events lie in the file {archived.sha256}: slipway audit verify --file checks that.")
        say(f"The record holds: {report.events} events. Note its end elsewhere, for --expect:")
        say(str(report.head))
    if report.broken is not None:
        say(f"slipway: the record does not hold: {report.broken}.", error=True)
        sys.exit(1)


def _of_registry(expected: ChainHead | None) -> AuditReport:
    with open_registry() as registry:
        return registry.audit.verify(expected)


def _of_file(path: Path, expected: ChainHead | None) -> AuditReport:
    from blocks.registry import AuditReport, ChainHead, NotProven, proven

    try:
        with path.open("rb") as lines:
            events, head = proven(lines, expected)
    except OSError as error:
        raise SpecInvalid(f"{path} cannot be read: {error.strerror}.") from error
    except NotProven as error:
        return AuditReport(head=ChainHead(position=0, hash=""), broken=f"{path}: {error}")
    return AuditReport(head=head, events=events)


@audit_app.command()
def seal() -> None:
    """Record the ends of all chains in one event, so that noting one hash is enough; the sweep does it every two minutes."""
    with open_registry() as registry:
        say(f"Sealed: {registry.audit.seal()} chains that went on since the last seal.")


@audit_app.command()
def export() -> None:
    """Print all events, chain by chain, a line of JSON each, and a last line that says how they end: slipway audit verify --file."""
    from blocks.registry import written

    with open_registry() as registry:
        for line in written(registry.audit.chain(), registry.audit.archived()):
            say_exactly(line)
