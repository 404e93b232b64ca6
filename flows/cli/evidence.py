"""Finds evidence in the registry and shows it: what `slipway evidence` does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from blocks.facts.kinds import EventKind
from blocks.registry import RegistryClient
from blocks.registry.documents import canonical
from blocks.wording import one_line
from flows.errors import SpecInvalid
from flows.record.phases import in_order
from flows.runtime.prefect_api import PrefectApi
from flows.runtime.waiting import waiting_run
from flows.verification.evidence import Evidence

#: Longest text of a cell, in characters; `--json` has all of it.
LONGEST_CELL = 2000

_HASH = re.compile(r"[0-9a-f]{8,64}")
_STYLES = {"passed": "green", "failed": "red", "inconclusive": "yellow", "errored": "magenta"}


@dataclass(frozen=True, kw_only=True)
class Found:
    """Evidence as the registry keeps it: its hash, its document, and the same as canonical JSON."""

    sha256: str
    evidence: Evidence
    canonical: str


def find(registry: RegistryClient, which: str, environment: str | None) -> Found:
    """The evidence with that hash (or its beginning), or the last of that run's own candidate (there, if an environment is named).

    Raises:
        SpecInvalid: There is none, or what there is is not of a verification that this version can read.
        RegistryRejected: Several hashes begin so, or the document was altered.
    """
    hash_ = which if _HASH.fullmatch(which) else _of_run(registry, which, environment)
    stored = registry.evidence.find(hash_)
    if stored is None:
        raise SpecInvalid(f"The registry has no evidence {which!r}: give a hash from a run's page, or a run.")
    try:
        evidence = Evidence.from_document(stored.document)
    except ValueError as exc:
        what = f"of the kind {stored.kind}, not a verification that this version can read"
        raise SpecInvalid(f"Evidence {stored.sha256[:12]} is {what}.") from exc
    return Found(sha256=stored.sha256, evidence=evidence, canonical=canonical(stored.document))


def _of_run(registry: RegistryClient, which: str, environment: str | None) -> str:
    try:
        run_id = str(UUID(which))  # of any run, ended or not
    except ValueError:
        run_id = str(waiting_run(PrefectApi(), which))
    recorded = registry.runs.events([run_id], [EventKind.DEPLOYING, EventKind.VERIFIED])
    events = [event for event in reversed(recorded) if environment in (None, event.environment)]
    # What the run was about is what it began with; what an environment went back to after a failure was verified by the same run.
    about = {event.environment: event.fingerprint for event in events if event.kind == EventKind.DEPLOYING}
    for event in events:
        if event.kind == EventKind.VERIFIED and event.fingerprint == about.get(event.environment, event.fingerprint):
            return str(event.detail.get("evidence_sha256"))
    where = f" in {environment}" if environment else ""
    raise SpecInvalid(f"Run {which} has verified nothing{where} so far.")


def page(registry: RegistryClient, found: Found) -> str:
    """The page that was made of the evidence when it was kept.

    Raises:
        SpecInvalid: None was kept.
    """
    for event in registry.runs.events([found.evidence.run_id], [EventKind.VERIFIED]):
        if event.detail.get("evidence_sha256") == found.sha256:
            document = registry.evidence.get(str(event.detail.get("page_sha256")))
            if document is not None and isinstance(html := document.get("html"), str):
                return html
    raise SpecInvalid(f"The registry keeps no page of evidence {found.sha256[:12]}.")


def show(found: Found, console: Console) -> None:
    """Print the verdict and every measurement."""
    evidence, verdict = found.evidence, found.evidence.verdict
    style = _STYLES[verdict.outcome]
    where = Text(f"{evidence.candidate.model} in {evidence.environment}", "bold")
    console.print(Text.assemble(where, ": ", Text(verdict.message, style)))
    console.print(
        f"candidate {evidence.candidate.fingerprint[:12]}, measured {evidence.measured_at:%Y-%m-%d %H:%M:%S}Z, evidence {found.sha256}"
    )
    table = Table("check", "outcome", show_edge=False)
    table.add_column("expected", overflow="fold")
    table.add_column("seen", overflow="fold")
    for measurement in verdict.measurements:
        outcome = Text(measurement.outcome, _STYLES[measurement.outcome])
        shown = [one_line(text, LONGEST_CELL) for text in (measurement.name, measurement.expected, measurement.seen)]
        table.add_row(shown[0], outcome, *shown[1:])
    console.print(table)
    for name, seconds in in_order(evidence.phases).items():
        console.print(f"{name:<10} {seconds:8.1f} s")
    console.print(f"The page with its plots: slipway evidence {found.sha256[:12]} --html evidence.html")
