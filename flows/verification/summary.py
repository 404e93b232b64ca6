"""What was found in each environment, as rows of a page and of a table."""

from __future__ import annotations

from collections.abc import Mapping

from flows.text.markdown import Markdown, code, heads, md, row
from flows.verification.evidence import VerifiedEvidence


def measurement_rows(proofs: Mapping[str, VerifiedEvidence]) -> list[dict[str, Markdown]]:
    """All measurements as rows of a table."""
    return [
        {
            "environment": md("{}", name),
            "check": md("{}", measurement.name),
            "outcome": md("{}", measurement.outcome),
            "expected": md("{}", measurement.expected),
            "seen": md("{}", measurement.seen),
        }
        for name, proof in proofs.items()
        for measurement in proof.verdict.measurements
    ]


def measurement_table(proofs: Mapping[str, VerifiedEvidence]) -> list[Markdown]:
    """All measurements as the lines of a table on a page."""
    rows = measurement_rows(proofs)
    return [heads(*rows[0]), *(row(*each.values()) for each in rows)] if rows else []


def verdict_rows(proofs: Mapping[str, VerifiedEvidence]) -> list[Markdown]:
    """The verdict of each environment, and beneath it what did not pass."""
    if not proofs:
        return [md("Nothing has been verified yet.")]
    rows = [_row(name, proof) for name, proof in proofs.items()]
    wrong = [md("- {}: {}", name, proof.verdict.message) for name, proof in proofs.items() if proof.verdict.outcome != "passed"]
    return [
        heads("environment", "verdict", "P50", "P95", "checks", "answers against before", "evidence"),
        *rows,
        md(""),
        *wrong,
        md(""),
        md("The whole evidence, with its plots, as one page: `slipway evidence HASH --html evidence.html`"),
    ]


def _row(name: str, proof: VerifiedEvidence) -> Markdown:
    verdict, hash_ = proof.verdict, proof.ref.sha256[:12]
    behaviour = verdict.behaviour
    before = f"{behaviour.exact_share:.0%} exact, {behaviour.max_nats:.3f} nats at most" if behaviour else "nothing to compare with"
    figures = (_ms(verdict.p50_seconds), _ms(verdict.p95_seconds), len(verdict.measurements))
    return row(name, verdict.outcome, *figures, before, code(hash_))


def _ms(seconds: float | None) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds is not None else "not measured"
