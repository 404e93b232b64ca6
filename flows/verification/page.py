"""The evidence as one HTML page: what a release manager reads before approving. It asks the network for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from flows.record.phases import in_order
from flows.verification.behaviour import Difference
from flows.verification.evidence import Evidence
from flows.verification.latency import LatencyLevel
from flows.verification.measurement import Measurement
from flows.verification.plots import differences_plot, latency_plot, phases_plot, power_plot, time

if TYPE_CHECKING:
    import jinja2

_WORST_FIRST = ("errored", "failed", "inconclusive")


def evidence_page(evidence: Evidence, sha256: str) -> Markup:
    """The page of the evidence whose document has that SHA-256. The same evidence gives the same page."""
    return _rendered("page.html.jinja", evidence, sha256)


def evidence_body(evidence: Evidence, sha256: str) -> Markup:
    """What the page says, without its head and its style: for a page that has these, such as the console's."""
    return _rendered("evidence.html.jinja", evidence, sha256)


def _rendered(template: str, evidence: Evidence, sha256: str) -> Markup:
    verdict, limits = evidence.verdict, evidence.limits
    behaviour = verdict.behaviour
    page = (
        _templates()
        .get_template(template)
        .render(
            evidence=evidence,
            verdict=verdict,
            sha256=sha256,
            passed=sum(measurement.outcome == "passed" for measurement in verdict.measurements),
            wrong=sorted((m for m in verdict.measurements if m.outcome != "passed"), key=lambda m: _WORST_FIRST.index(m.outcome)),
            groups=_groups([m for m in verdict.measurements if m.outcome == "passed"]),
            levels=verdict.latency,
            total_seconds=sum(evidence.phases.values()),
            latency_plot=latency_plot(verdict.latency, limits.latency),
            phases_plot=phases_plot(in_order(evidence.phases), limits.budget_seconds),
            differences_plot=differences_plot(behaviour) if behaviour else "",
            power_plot=power_plot(verdict.power) if verdict.power and verdict.power.positions else "",
            changed=[one for one in (*behaviour.differences, *behaviour.probes) if one.first_token is not None] if behaviour else [],
        )
    )
    # All that is in it was escaped by the template.
    return Markup(page)  # noqa: S704


@cache
def _templates() -> jinja2.Environment:
    from flows.text.html import templates_in  # no template before there is something to show

    templates = templates_in(Path(__file__).parent)
    templates.filters.update(time=time, size=_size, parted=_parted, rate=_rate)
    return templates


def _groups(measurements: Sequence[Measurement]) -> list[tuple[str, list[Measurement]]]:
    """The measurements by the part of verification that they belong to, in the order of measuring."""
    parts = {_part(measurement): "" for measurement in measurements}
    return [(part, [measurement for measurement in measurements if _part(measurement) == part]) for part in parts]


def _part(measurement: Measurement) -> str:
    return measurement.kind if measurement.kind in ("identity", "latency", "behaviour", "stability") else "answers"


def _rate(level: LatencyLevel) -> str:
    return f"{level.tokens_per_second:,.0f} tokens/s, {len(level.samples_seconds) / level.seconds:,.1f} requests/s" if level.seconds else ""


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.1f} MB"


def _parted(difference: Difference) -> dict[str, Any]:
    """The two texts, each as what both begin with and what follows."""
    before, now = difference.before, difference.now
    same = next((place for place, (old, new) in enumerate(zip(before, now, strict=False)) if old != new), min(len(before), len(now)))
    return {"same": before[:same], "before": before[same:], "now": now[same:]}
