"""What a candidate is, as rows of a page."""

from __future__ import annotations

from flows.spec import Candidate
from flows.text import counted


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
