"""What a candidate is, as rows of a page."""

from __future__ import annotations

from collections.abc import Sequence

from flows.candidate.files import LeftOut
from flows.spec import Candidate
from flows.text import counted, gib
from flows.text.markdown import Markdown, code, heads, md, names, row


def candidate_rows(candidate: Candidate) -> list[Markdown]:
    """What the candidate is, as the rows of a table."""
    image, digest = candidate.image.split("@sha256:")
    return [
        heads("what", "which"),
        row("candidate", code(candidate.short)),
        row("hub revision", md("{} at {}", code(candidate.repository), code(candidate.commit[:12]))),
        *_model_rows(candidate),
        row("files", md("{:,}, {:,.1f} MB", len(candidate.files), candidate.size_bytes / 1e6)),
        *([row("folder of it", code(candidate.subfolder))] if candidate.subfolder else []),
        row("image", md("{} by digest {}", code(image), code(digest[:12]))),
        row("chart", code(candidate.chart_digest[:12])),
        row("context", md("{:,} tokens", candidate.engine.max_model_len)),
        row("code of the repository", "runs (--trust-remote-code)" if candidate.remote_code else "does not run"),
    ]


def left_out_rows(left_out: Sequence[LeftOut]) -> list[Markdown]:
    """What of the repository no node gets, as the rows of a table."""
    return [
        heads("files", "size", "which", "why"),
        *(row(md("{:,}", group.files), gib(group.size_bytes), _examples(group), group.why) for group in left_out),
    ]


def _examples(group: LeftOut) -> Markdown:
    # Cut: a path may have a thousand characters.
    shown = names(path if len(path) <= 80 else f"{path[:79]}…" for path in group.examples)
    more = group.files - len(group.examples)
    return md("{} and {:,} more", shown, more) if more else shown


def _model_rows(candidate: Candidate) -> list[Markdown]:
    about = candidate.about
    if about is None:  # a candidate from before models were looked into
        return []
    quantised = md(", quantised ({})", about.config.quantisation) if about.config.quantisation else md("")
    licences = names(about.licences) or md("none named")
    return [
        row("model", about.config.architecture or "unnamed architecture"),
        row("parameters", md("{} in {}{}", counted(about.parameters), about.dtype, quantised)),
        row("licence", md("{}{}", licences, md(" (gated)") if about.gated else "")),
    ]
