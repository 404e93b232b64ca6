"""What people read of a release: the page, the form's text, the table of measurements."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from flows.candidate.changes import Change
from flows.delivery.drift import Drift
from flows.placement.assess import ReleasePlan
from flows.recovery.decide import Failure
from flows.rollout.diagnosis import Diagnosis
from flows.spec import Candidate, Environment
from flows.verification.evidence import Proof


def release_page(candidate: Candidate, proofs: Mapping[str, Proof]) -> str:
    """The release as markdown: what is released, and what was found in each environment."""
    lines = [f"## {candidate.model} at {candidate.commit[:12]}", "", *candidate_rows(candidate), "", *_verdicts(proofs)]
    return "\n".join(lines)


def approval_page(
    candidate: Candidate,
    environment: Environment,
    decided_on: DecidedOn,
    proofs: Mapping[str, Proof],
    requester: str,
    deadline: datetime,
) -> str:
    """What a release manager reads above the form: what is to be approved, what it changes, what was found so far."""
    replaces = f"candidate `{decided_on.current[:12]}`" if decided_on.current else "nothing; it is the first release there"
    lines = [
        f"## Release {candidate.model} to {environment.name}?",
        "",
        *candidate_rows(candidate),
        f"| replaces in {environment.name} | {replaces} |",
        f"| asked for by | {cell(requester) or 'nobody in particular'} |",
        f"| evidence | `{decided_on.sha256[:16]}` |",
        f"| waits until | {deadline:%Y-%m-%d %H:%M} UTC |",
        "",
        *_changes(decided_on.changes),
        *_verdicts(proofs),
        "",
        "Resuming with *approve* deploys this candidate; with *reject* it ends the release.",
    ]
    return "\n".join(lines)


def way_back_page(candidate: Candidate, environment: Environment, failure: Failure) -> str:
    """What is read above the form that asks whether to go back."""
    before = failure.replaces or ""
    return "\n".join(
        [
            f"## {candidate.model} failed in {environment.name}: go back?",
            "",
            f"Candidate `{candidate.short}` does not serve there: {cell(failure.reason)}",
            "",
            f"*go-back* brings back candidate `{before[:12]}`, verifies it, and routes to it again; its weights are on the nodes. *leave* "
            "changes nothing: nothing is routed there until somebody releases or rolls back.",
        ]
    )


class Before(Protocol):
    """What a rollback takes the place of."""

    @property
    def fingerprint(self) -> str | None:
        """Its candidate."""

    @property
    def status(self) -> str | None:
        """Its status."""


def return_page(candidate: Candidate, environment: Environment, planned: ReleasePlan, before: Before | None) -> str:
    """What a rollback will do, as markdown."""
    now = f"candidate `{(before.fingerprint or '')[:12]}` ({before.status})" if before is not None else "nothing"
    pause = f"nothing answers for up to {planned.interruption_seconds:,.0f} s" if planned.interruption_seconds else "none"
    return "\n".join(
        [
            f"## {candidate.model} in {environment.name} goes back",
            "",
            *candidate_rows(candidate),
            f"| instead of | {now} |",
            f"| nodes | {', '.join(planned.nodes)}; its weights are kept there |",
            f"| way | {planned.strategy} |",
            f"| interruption | {pause} |",
            f"| the rollout may take | {planned.budget.rollout_seconds} s |",
        ]
    )


class DecidedOn(Protocol):
    """What the approvers decide on, beside the candidate itself."""

    @property
    def sha256(self) -> str:
        """Hash of the evidence document."""

    @property
    def current(self) -> str | None:
        """The candidate that serves now."""

    @property
    def changes(self) -> Sequence[Change]:
        """What differs."""


def _changes(found: Sequence[Change]) -> list[str]:
    if not found:
        return []
    rows = [f"| {cell(change.what)} | {cell(change.now)} | {cell(change.new)} |" for change in found]
    return ["| what changes | now | then |", "|-|-|-|", *rows, ""]


def cell(text: str) -> str:
    """Text that cannot leave its cell of a table, nor be taken for markup."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


def drift_page(found: Mapping[str, Sequence[Drift]]) -> str:
    """What has drifted, by entry, with the differences; nothing where nothing has."""
    lines = ["", "", "## Drift", ""] if found else []
    for name, drifts in found.items():
        for drift in drifts:
            lines += [f"**{cell(name)}** ({drift.kind}): {cell(drift.sentence)}", ""]
            # Indented, so that nothing in a difference is taken for markdown.
            lines += [*(f"    {line}" for line in drift.difference), ""] if drift.difference else []
    return "\n".join(lines)


def diagnosis_page(diagnosis: Diagnosis, where: str) -> str:
    """Why a rollout did not go on, as markdown: category, sentence, what to do, and what it was read from."""
    lines = [f"## {where}: {diagnosis.category}", "", f"{diagnosis.sentence}.", "", f"**What to do**: {diagnosis.remedy}"]
    if diagnosis.evidence:
        # Indented, so that nothing in a log line is taken for markdown.
        lines += ["", "Read from:", "", *(f"    {line}" for line in diagnosis.evidence)]
    return "\n".join(lines)


def measurement_rows(proofs: Mapping[str, Proof]) -> list[dict[str, Any]]:
    """All measurements as rows of a table."""
    return [
        {
            "environment": name,
            "check": measurement.name,
            "outcome": measurement.outcome,
            "expected": measurement.expected,
            "seen": measurement.seen,
        }
        for name, proof in proofs.items()
        for measurement in proof.verdict.measurements
    ]


def candidate_rows(candidate: Candidate) -> list[str]:
    """What the candidate is, as the rows of a table."""
    image, digest = candidate.image.split("@sha256:")
    return [
        "| what | which |",
        "|-|-|",
        f"| candidate | `{candidate.short}` |",
        f"| hub revision | `{candidate.repository}` at `{candidate.commit[:12]}` |",
        *_model_rows(candidate),
        f"| files | {len(candidate.files)}, {candidate.size_bytes / 1e6:,.1f} MB |",
        f"| image | `{image}` by digest `{digest[:12]}` |",
        f"| chart | `{candidate.chart_digest[:12]}` |",
        f"| context | {candidate.engine.max_model_len:,} tokens |",
        f"| code of the repository | {'runs (--trust-remote-code)' if candidate.remote_code else 'does not run'} |",
    ]


def _model_rows(candidate: Candidate) -> list[str]:
    about = candidate.about
    if about is None:  # a candidate from before models were looked into
        return []
    quantised = f", quantised ({about.config.quantisation})" if about.config.quantisation else ""
    return [
        f"| model | {about.config.architecture or 'unnamed architecture'} |",
        f"| parameters | {counted(about.parameters)} in {about.dtype}{quantised} |",
        f"| licence | {', '.join(about.licences) or 'none named'}{' (gated)' if about.gated else ''} |",
    ]


def counted(number: int) -> str:
    """A large number as people read it, to three digits."""
    for size, word in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,}"


def _verdicts(proofs: Mapping[str, Proof]) -> list[str]:
    if not proofs:
        return ["Nothing has been verified yet."]
    rows = [_row(name, proof) for name, proof in proofs.items()]
    wrong = [f"- {name}: {cell(proof.verdict.sentence)}" for name, proof in proofs.items() if proof.verdict.outcome != "passed"]
    return [
        "| environment | verdict | P50 | P95 | checks | answers against before | evidence |",
        "|-|-|-|-|-|-|-|",
        *rows,
        "",
        *wrong,
        "",
        "The whole evidence, with its plots, as one page: `slipway evidence HASH --html evidence.html`",
    ]


def _row(name: str, proof: Proof) -> str:
    verdict, hash_ = proof.verdict, proof.kept.sha256[:12]
    behaviour = verdict.behaviour
    before = f"{behaviour.exact_share:.0%} exact, {behaviour.max_nats:.3f} nats at most" if behaviour else "nothing to compare with"
    figures = f"{_ms(verdict.p50_seconds)} | {_ms(verdict.p95_seconds)} | {len(verdict.measurements)}"
    return f"| {name} | {verdict.outcome} | {figures} | {before} | `{hash_}` |"


def _ms(seconds: float | None) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds is not None else "not measured"
