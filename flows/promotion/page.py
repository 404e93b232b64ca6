"""What people read of a release."""

from __future__ import annotations

from collections.abc import Mapping

from flows.candidate.page import candidate_rows
from flows.spec import Candidate
from flows.verification.evidence import VerifiedEvidence
from flows.verification.summary import verdict_rows


def release_page(candidate: Candidate, verified: Mapping[str, VerifiedEvidence]) -> str:
    """The release as markdown: what is released, and what was found in each environment."""
    lines = [f"## {candidate.model} at {candidate.commit[:12]}", "", *candidate_rows(candidate), "", *verdict_rows(verified)]
    return "\n".join(lines)
