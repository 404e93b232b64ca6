"""What people read of a release."""

from __future__ import annotations

from collections.abc import Mapping

from flows.candidate.page import candidate_rows
from flows.spec import Candidate
from flows.text.markdown import Markdown, md, page
from flows.verification.evidence import VerifiedEvidence
from flows.verification.summary import measurement_table, verdict_rows


def release_page(candidate: Candidate, verified: Mapping[str, VerifiedEvidence]) -> Markdown:
    """The release: what is released, what was found in each environment, and every measurement."""
    title = md("## {} at {}", candidate.model, candidate.commit[:12])
    measured = [md(""), md("### Every measurement"), md(""), *measurement_table(verified)] if verified else []
    return page(title, md(""), *candidate_rows(candidate), md(""), *verdict_rows(verified), *measured)
