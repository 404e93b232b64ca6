"""What was measured of a model over time, as inline SVG: each point is a verification, and leads to its evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from urllib.parse import quote

from markupsafe import Markup

from flows.console.reads.history import Measured, ModelHistory
from flows.text.svg import LogScale, line, rectangle, text
from flows.verification.plots import time

WIDTH, HEIGHT = 720.0, 200.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 700.0, 12.0, 160.0


def plots_of(history: ModelHistory) -> list[tuple[str, Markup, Markup]]:
    """For each environment that was verified in: its name, latency over time, and answers over time; empty without figures."""
    names = dict.fromkeys(each.environment for each in history.measured)
    drawn = []
    for name in names:
        its = [each for each in history.measured if each.environment == name]
        latency, answers = latency_over_time(its), answers_over_time(its)
        if latency or answers:
            drawn.append((name, latency, answers))
    return drawn


def latency_over_time(measured: Sequence[Measured]) -> Markup:
    """P50 and P95 of each verification, and the limits that held then; seconds on a logarithmic axis."""
    found = [each for each in measured if each.p50_seconds is not None or each.p95_seconds is not None]
    figures = [value for each in found for value in (each.p50_seconds, each.p95_seconds, each.p95_limit_seconds) if value]
    if not figures:
        return Markup("")
    low = max(min(figures) / 1.5, 1e-6)
    # From below upwards: SVG's own axis leads down.
    scale = LogScale(low=low, high=max(max(figures) * 1.3, 2 * low), left=_BOTTOM, right=_TOP)
    parts = _axis([(scale(value), time(value)) for value in _ticks(scale)])
    for style, figure in (("limit", _P50_LIMIT), ("limit", _P95_LIMIT), ("curve c0", _P50), ("curve c1", _P95)):
        parts.append(_path(found, _on(scale, figure), style))
    for color, figure, what in (("d0", _P50, "P50"), ("d1", _P95, "P95")):
        parts += _points(found, _on(scale, figure), color, what)
    return _svg([*parts, *_ends(found)], f"Latency of {len(found)} verifications over time")


def answers_over_time(measured: Sequence[Measured]) -> Markup:
    """Which share of the golden answers was the same as before."""
    found = [each for each in measured if each.exact_share is not None and each.exact_share <= 1]
    if not found:
        return Markup("")

    def place(each: Measured) -> float:
        return round(_BOTTOM - (each.exact_share or 0.0) * (_BOTTOM - _TOP - 8), 2)

    parts = _axis([(round(_BOTTOM - share * (_BOTTOM - _TOP - 8), 2), f"{share:.0%}") for share in (0.0, 0.5, 1.0)])
    parts.append(_path(found, place, "curve c0"))
    parts += _points(found, place, "d0", "same answers")
    return _svg([*parts, *_ends(found)], f"Share of the same answers in {len(found)} verifications over time")


_P50, _P95 = attrgetter("p50_seconds"), attrgetter("p95_seconds")
_P50_LIMIT, _P95_LIMIT = attrgetter("p50_limit_seconds"), attrgetter("p95_limit_seconds")


def _on(scale: LogScale, figure: Callable[[Measured], float | None]) -> Callable[[Measured], float | None]:
    """Where a figure of a verification is drawn; nowhere if there is none, or it is zero, which no logarithm has."""

    def place(each: Measured) -> float | None:
        value = figure(each)
        return scale(value) if value else None

    return place


def _ticks(scale: LogScale) -> list[float]:
    powers = [factor * 10.0**power for power in range(-6, 7) for factor in (1, 2, 5)]
    within = [value for value in powers if scale.low <= value <= scale.high]
    return within if len(within) <= 6 else [value for value in within if f"{value:e}"[0] == "1"]


def _axis(marks: Sequence[tuple[float, str]]) -> list[Markup]:
    return [line(_LEFT, y, _RIGHT, y, "grid") + text(_LEFT - 8, y + 4, said, "end") for y, said in marks]


def _x(index: int, count: int) -> float:
    # Verifications side by side, not by the clock: a week without any would leave all of them at the edges.
    return round(_LEFT + 14 + (index / (count - 1) if count > 1 else 0.5) * (_RIGHT - _LEFT - 28), 2)


def _path(found: Sequence[Measured], place: Callable[[Measured], float | None], style: str) -> Markup:
    points = [(_x(index, len(found)), y) for index, each in enumerate(found) if (y := place(each)) is not None]
    if len(points) < 2:
        return Markup("")
    return Markup('<path class="{}" d="{}"/>').format(style, "M" + "L".join(f"{x},{y}" for x, y in points))


def _points(found: Sequence[Measured], place: Callable[[Measured], float | None], color: str, what: str) -> list[Markup]:
    drawn = []
    for index, each in enumerate(found):
        y = place(each)
        if y is None:
            continue
        x = _x(index, len(found))
        circle = Markup('<circle class="{}" cx="{}" cy="{}" r="4"/>').format(color, x, y)
        mark = circle if each.outcome == "passed" else rectangle(x - 5, y - 5, 10, 10, "d-bad")
        said = f"{what} of {each.fingerprint[:12]}, {each.at:%Y-%m-%d %H:%M}, {each.outcome}"
        link = Markup('<a href="/evidence/{}" aria-label="{}"><title>{}</title>{}</a>')
        drawn.append(link.format(quote(each.evidence_sha256, safe=""), said, said, mark) if each.evidence_sha256 else mark)
    return drawn


def _ends(found: Sequence[Measured]) -> list[Markup]:
    def said(at: datetime) -> str:
        return f"{at:%Y-%m-%d}"

    if len(found) < 2:
        return [text(_x(0, 1), HEIGHT - 14, said(found[0].at), "middle")]
    return [text(_LEFT, HEIGHT - 14, said(found[0].at), "start"), text(_RIGHT, HEIGHT - 14, said(found[-1].at), "end")]


def _svg(parts: Sequence[Markup], label: str) -> Markup:
    # A group and no image: what leads somewhere in it is read, too.
    head = Markup('<svg class="plot" viewBox="0 0 {:.0f} {:.0f}" role="group" aria-label="{}">').format(WIDTH, HEIGHT, label)
    return head + Markup("").join(parts) + Markup("</svg>")
