"""What is known of a canary, as a page: the verdict, what it is made of, and the picture over time."""

from __future__ import annotations

from collections.abc import Sequence

from flows.canary.judge.sentences import named, size
from flows.canary.judge.trace import Trace
from flows.canary.judge.verdict import Finding, Verdict
from flows.canary.plot import canary_plot
from flows.text.markdown import Markdown, heads, md, page, picture, row

_WORDS = {"harm": "Harm", "none": "No harm", "undecided": "Undecided"}

#: One character for each eighth of the highest value.
_BARS = "▁▂▃▄▅▆▇█"
#: So many of them in a line.
_LONGEST_LINE = 40


def canary_page(model: str, environment: str, weight: int, verdict: Verdict, trace: Trace) -> Markdown:
    """The page.

    Args:
        model: The name that clients send.
        environment: Where.
        weight: The canary's share of the requests now, in percent.
        verdict: What is known by now.
        trace: What was seen over time.
    """
    return page(
        md("# Canary of {} in {}: {} at {} %", model, environment, _WORDS[verdict.outcome], weight),
        md(""),
        summary(verdict),
        md(""),
        picture("Latency, errors, share and evidence of both candidates over time", canary_plot(trace.points, verdict.limit)),
        md(""),
        *_lines(trace),
        md(""),
        *_table(verdict),
        *_notes(verdict),
    )


def verdict_so_far(verdict: Verdict, trace: Trace) -> Markdown:
    """The verdict without the picture, for the form of those who decide about the next step."""
    return page(summary(verdict), md(""), *_lines(trace), md(""), *_table(verdict), *_notes(verdict))


def summary(verdict: Verdict) -> Markdown:
    """The verdict in a sentence or two."""
    return md(
        "{} The evidence that the canary is worse is {:.2g}; it is harm from {:g} on, which {:.0%} of honest canaries reach at most, "
        "however often somebody looks.",
        verdict.reason,
        verdict.e_value,
        verdict.limit,
        1 / verdict.limit,
    )


def _table(verdict: Verdict) -> list[Markdown]:
    if not verdict.findings:
        return [md("Nothing was compared yet.")]
    rows = [
        row(
            named(finding),
            _value(finding, finding.current),
            _value(finding, finding.canary),
            size(finding, finding.effect),
            f"{size(finding, finding.low)} to {size(finding, finding.high)}",
            size(finding, finding.harm),
            "too coarse to tell" if finding.coarse else "excluded" if finding.excluded else "possible",
            f"{finding.e_value:.2g}",
        )
        for finding in verdict.findings
    ]
    return [heads("measure", "what serves", "the canary", "effect", "not excluded", "harm would be", "harm is", "evidence"), *rows]


def _notes(verdict: Verdict) -> list[Markdown]:
    both = md("{:,} requests of what serves and {:,} of the canary", verdict.current_requests, verdict.canary_requests)
    lines = [md(""), md("Judged by {}, in {:.1f} min.", both, verdict.seconds / 60)]
    if verdict.unknown:
        lines.append(md("Not told by the source: {}.", ", ".join(verdict.unknown)))
    if verdict.more_seconds is not None:
        lines.append(md("At this traffic it takes about {:.0f} min more to exclude harm, if there is none.", verdict.more_seconds / 60))
    return lines


def _lines(trace: Trace) -> list[Markdown]:
    """The same as the picture in characters, for where no pictures are shown."""
    points = trace.points
    if not points:
        return []
    told: list[tuple[str, list[list[float | None]]]] = [
        ("95th percentile of end-to-end latency", [[point.p95[arm] for point in points] for arm in (0, 1)]),
        ("share of errors", [[_share(point.errors[arm], point.requests[arm]) for point in points] for arm in (0, 1)]),
    ]
    rows = [row(f"{what}, {who}", bars(values[arm])) for what, values in told for arm, who in ((0, "what serves"), (1, "the canary"))]
    return [heads("over time", "each scaled to its own highest value"), *rows]


def _share(part: int, count: int) -> float | None:
    return part / count if count else None


def bars(values: Sequence[float | None]) -> str:
    """A line of bars; a gap where nothing is known. What is too long is thinned out evenly, its last value kept."""
    step = -(-len(values) // _LONGEST_LINE)
    kept = list(reversed(list(reversed(values))[::step])) if step else []
    most = max((value for value in kept if value is not None), default=0.0)
    return "".join("·" if value is None else _BARS[min(7, int(8 * value / most)) if most > 0 else 0] for value in kept)


def _value(finding: Finding, value: float | None) -> str:
    if value is None:
        return "unknown"
    if finding.unit == "share":
        return f"{value:.2%}"
    return f"{value:,.0f} tokens" if finding.measure in ("longer", "shorter") else f"{value:.3g} s"
