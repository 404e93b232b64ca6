"""What people read of a release."""

from __future__ import annotations

from collections.abc import Mapping

from flows.candidate.page import candidate_rows
from flows.spec import Candidate
from flows.text.markdown import Markdown, md, page
from flows.verification.evidence import VerifiedEvidence
from flows.verification.summary import verdict_rows


def release_page(candidate: Candidate, verified: Mapping[str, VerifiedEvidence]) -> Markdown:
    """The release: what is released, and what was found in each environment."""
    title = md("## {} at {}", candidate.model, candidate.commit[:12])
    return page(title, md(""), *candidate_rows(candidate), md(""), *verdict_rows(verified))
