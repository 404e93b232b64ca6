"""What a judge has found, as sentences."""

from __future__ import annotations

from collections.abc import Sequence

from flows.canary.judge.verdict import Finding, Outcome

#: The measures, as people call them.
NAMES = {
    "errors": "requests that end in an error",
    "refused": "refused requests",
    "aborted": "requests that clients break off",
    "unfinished": "answers that do not end by themselves",
    "ttft": "time to the first token",
    "itl": "time between tokens",
    "e2e": "end-to-end latency",
    "longer": "length of answers",
    "shorter": "shortness of answers",
}
_OF = {"share": "", "middle": " (in the middle)", "tail": " (slowest tenth)", "mean": " (mean)"}


def named(finding: Finding) -> str:
    """The measure and what of it was compared."""
    return NAMES[finding.measure] + _OF[finding.score]


def size(finding: Finding, value: float | None) -> str:
    """An effect as people read it: percentage points more, or so many times."""
    if value is None:
        return "unknown"
    return f"{value * 100:+.2f} points" if finding.unit == "share" else f"x {value:.2f}"


def reason(
    outcome: Outcome, leading: Finding | None, unknown: Sequence[str], seconds: float, requests: int, more_seconds: float | None
) -> str:
    """The verdict as a sentence."""
    seen = f"{requests:,} requests of the canary in {seconds / 60:.0f} min"
    if leading is None:
        return f"Nothing can be said yet: {seen}."
    if outcome == "harm":
        bounds = f"between {size(leading, leading.low)} and {size(leading, leading.high)}"
        return f"The canary is worse: {named(leading)} {size(leading, leading.effect)}, {bounds}, by {seen}."
    if outcome == "none":
        return f"No harm: every size of harm is excluded, {named(leading)} with {size(leading, leading.high)} at most, by {seen}."
    missing = [NAMES[name] for name in ("errors", "e2e") if name in unknown]
    if missing:
        return f"Undecided: the source does not tell {' and '.join(missing)}; {seen}."
    wait = f"; about {more_seconds / 60:.0f} min more at this traffic" if more_seconds is not None and more_seconds < 86_400 else ""
    reach = f"up to {size(leading, leading.high)}" if leading.high is not None else "of any size"
    return f"Undecided: of {named(leading)}, harm {reach} is possible still ({size(leading, leading.harm)} would be harm), by {seen}{wait}."
