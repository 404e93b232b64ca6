"""A canary over time as one picture: latency of both candidates, their errors, the canary's share, and the evidence against it.

One SVG without a script, with colours that follow light and dark. Lengths are SVG user units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from flows.canary.judge.trace import Point
from flows.text.svg import line, text

_WIDTH, _LEFT, _RIGHT = 760.0, 64.0, 744.0
#: Of each panel: how high it is, and how far it is to the next.
_PANEL, _GAP = 96.0, 40.0

_STYLE = Markup("""<style>
svg{--ink:#1c2530;--faint:#d9dee5;--current:#8a97a8;--canary:#2f74c0;--limit:#c0392b}
@media(prefers-color-scheme:dark){svg{--ink:#dfe5ec;--faint:#37414d;--current:#8d99a8;--canary:#5b9ce0;--limit:#e57368}}
text{font:12px system-ui,sans-serif;fill:var(--ink)}.title{font-weight:600}.grid{stroke:var(--faint)}
path{fill:none;stroke-width:1.6}.current{stroke:var(--current)}.canary{stroke:var(--canary)}
.thin{stroke-width:1;stroke-dasharray:3 3}.limit{stroke:var(--limit);stroke-dasharray:6 4;stroke-width:1.5}
</style>""")

Curve = list[tuple[float, float]]


def canary_plot(points: Sequence[Point], limit: float) -> Markup:
    """The picture.

    Args:
        points: What was seen, oldest first.
        limit: The evidence at which it is harm.
    """
    end = max((point.until for point in points), default=0.0) or 1.0

    def x(seconds: float) -> float:
        return round(_LEFT + seconds / end * (_RIGHT - _LEFT), 1)

    latencies: list[tuple[Curve, str]] = [
        (_percentile(points, name, arm), f"{side} {dash}") for name, dash in (("p95", ""), ("p50", "thin")) for arm, side in _ARMS
    ]
    errors: list[tuple[Curve, str]] = [
        ([(point.until, point.errors[arm] / point.requests[arm]) for point in points if point.requests[arm]], side) for arm, side in _ARMS
    ]
    weights: list[tuple[Curve, str]] = [([(point.until, point.weight / 100) for point in points], "canary")]
    # Evidence below 1 says nothing; it is drawn as a multiple of tens.
    evidence: list[tuple[Curve, str]] = [([(point.until, max(0.0, point.log_e / math.log(10))) for point in points], "canary")]
    panels: list[tuple[str, list[tuple[Curve, str]], Callable[[float], str], float | None]] = [
        ("End-to-end latency: 95th percentile, and the median (dashed)", latencies, _seconds, None),
        ("Requests that ended in an error", errors, _percent, None),
        ("The canary's share of the requests", weights, _percent, None),
        (f"Evidence that the canary is worse; harm from {limit:g} on", evidence, _tens, math.log10(limit)),
    ]
    parts: list[Markup] = [_STYLE]
    for number, (title, curves, told, mark) in enumerate(panels):
        parts += _panel(24 + number * (_PANEL + _GAP), title, curves, x, told, mark)
    bottom = 24 + len(panels) * (_PANEL + _GAP) - _GAP
    parts += [text(x(0), bottom + 18, "0 min", "start"), text(x(end), bottom + 18, f"{end / 60:.0f} min", "end")]
    for place, (_, side) in enumerate(_ARMS):
        said = "what serves" if side == "current" else "the canary"
        at = 300 + place * 110
        parts.append(line(at, bottom + 14, at + 14, bottom + 14, side))
        parts.append(text(at + 18, bottom + 18, said, "start"))
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {:.0f} {:.0f}" width="{:.0f}" role="img" aria-label="{}">').format(
        _WIDTH, bottom + 28, _WIDTH, "Latency, errors, share and evidence of both candidates over time"
    )
    return head + Markup("").join(parts) + Markup("</svg>")


_ARMS = ((0, "current"), (1, "canary"))


def _percentile(points: Sequence[Point], name: str, arm: int) -> Curve:
    """A percentile of one candidate over time; where it is not known, there is no point."""
    found = [(point.until, (point.p95 if name == "p95" else point.p50)[arm]) for point in points]
    return [(until, value) for until, value in found if value is not None]


def _panel(
    top: float,
    title: str,
    curves: Sequence[tuple[Curve, str]],
    x: Callable[[float], float],
    told: Callable[[float], str],
    mark: float | None,
) -> list[Markup]:
    values = [value for curve, _ in curves for _, value in curve if math.isfinite(value)]
    most = 1.15 * max(*values, mark or 0.0, 0.0) if values else mark or 0.0
    most = most or 1.0

    def y(value: float) -> float:
        return round(top + _PANEL - min(1.0, value / most) * _PANEL, 1)

    parts = [text(_LEFT, top - 8, title, "start", "title")]
    for share in (0.0, 0.5, 1.0):
        parts += [
            line(_LEFT, y(share * most), _RIGHT, y(share * most), "grid"),
            text(_LEFT - 6, y(share * most) + 4, told(share * most), "end"),
        ]
    if mark is not None:
        parts.append(line(_LEFT, y(mark), _RIGHT, y(mark), "limit"))
    for curve, style in curves:
        if curve:
            path = "M" + "L".join(f"{x(at)},{y(value)}" for at, value in curve)
            parts.append(Markup('<path class="{}" d="{}"/>').format(style, path))
    return parts


def _seconds(value: float) -> str:
    return f"{value:.2g} s" if value < 100 else f"{value:.0f} s"


def _percent(value: float) -> str:
    return f"{value:.2%}" if value < 0.01 else f"{value:.0%}" if value >= 0.1 else f"{value:.1%}"


def _tens(value: float) -> str:
    return f"{10**value:.0f}" if value < 6 else f"1e{value:.0f}"
