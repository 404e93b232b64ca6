"""Plots as inline SVG: no script, no request, and colours that the page's style gives, so that they follow light and dark.

A plot is made of numbers and of texts that are escaped here. Lengths are SVG user units; the page scales them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from markupsafe import Markup

from flows.record.phases import counted_seconds
from flows.spec import LatencyPolicy
from flows.text.svg import LogScale, line, rectangle, text
from flows.verification.behaviour import Behaviour, Difference
from flows.verification.latency import LatencyLevel
from flows.verification.power import Power, power_against

WIDTH = 720.0

#: What is longer is drawn at the edge, in seconds: thirty years.
_LONGEST_SECONDS = 1e9


def _ticks(scale: LogScale) -> Iterator[float]:
    """1, 2 and 5 times powers of ten within the scale."""
    for power in range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1):
        for factor in (1, 2, 5):
            if scale.low <= factor * 10.0**power <= scale.high:
                yield factor * 10.0**power


def latency_plot(levels: Sequence[LatencyLevel], limits: LatencyPolicy) -> Markup:
    """The share of requests that were answered within a time, for each concurrency, with the two limits as marks.

    The bars through the first curve are the 95 % confidence intervals of its median and its 95th percentile: a limit is kept when the
    whole bar is left of its mark.
    """
    measured = [level for level in levels if level.samples_seconds]
    if not measured:
        return Markup("")
    everything = [seconds for level in measured for seconds in level.samples_seconds]
    low = min(*everything, limits.p50_seconds) / 1.3
    high = max(*everything, limits.p95_seconds) * 1.3
    height, left, top, bottom = 300.0, 52.0, 14.0, 252.0
    # A logarithm wants more than nothing.
    low = min(max(low, 1e-6), _LONGEST_SECONDS)
    x = LogScale(low=low, high=max(min(high, _LONGEST_SECONDS), 2 * low), left=left, right=WIDTH - 16)

    def y(share: float) -> float:
        return round(bottom - share * (bottom - top), 2)

    parts = [line(x(tick), top, x(tick), bottom, "grid") + text(x(tick), bottom + 18, time(tick), "middle") for tick in _ticks(x)]
    parts += [line(left, y(share), WIDTH - 16, y(share), "grid") + text(left - 8, y(share) + 4, f"{share:.0%}", "end") for share in _SHARES]
    for index, level in enumerate(measured):
        parts.append(_steps(sorted(level.samples_seconds), x, y, f"curve c{index % 4}"))
    first = measured[0].end_to_end
    if first is not None:
        for interval, share, limit in ((first.p50, 0.5, limits.p50_seconds), (first.p95, 0.95, limits.p95_seconds)):
            parts.append(line(x(interval.low), y(share), x(interval.high), y(share), "interval"))
            parts.append(line(x(limit), y(share) - 16, x(limit), y(share) + 16, "limit"))
            end = x(limit) > WIDTH - 150
            parts.append(text(x(limit) + (-6 if end else 6), y(share) - 6, f"limit {time(limit)}", "end" if end else "start", "mark"))
    parts.append(text((left + WIDTH) / 2, height - 8, "end-to-end latency, logarithmic", "middle"))
    return _svg(height, parts, "Share of requests answered within a time, for each concurrency, and the limits")


_SHARES = (0.0, 0.25, 0.5, 0.75, 0.95)


def _steps(ordered: Sequence[float], x: LogScale, y: Callable[[float], float], style: str) -> Markup:
    count = len(ordered)
    path, before, drawn = [f"M{x(ordered[0])},{y(0.0)}"], 0.0, x(ordered[0])
    for place, value in enumerate(ordered, start=1):
        here = x(value)
        if here - drawn >= 0.5 or place in (1, count):  # what no eye could tell apart is one step
            path.append(f"L{here},{y(before)}L{here},{y(place / count)}")
            before, drawn = place / count, here
    return Markup('<path class="{}" d="{}"/>').format(style, "".join(path))


def phases_plot(phases: Mapping[str, float], budget_seconds: float) -> Markup:
    """One bar for each phase, each beginning where the one before ended."""
    total = sum(phases.values())
    if not total or not math.isfinite(total):
        return Markup("")
    row, left, right = 22.0, 90.0, WIDTH - 80
    height, begin, parts = row * len(phases) + 34, 0.0, []
    for index, (name, seconds) in enumerate(phases.items()):
        top = 6 + index * row
        start, width = left + begin / total * (right - left), max(1.0, seconds / total * (right - left))
        parts.append(text(left - 8, top + 14, name, "end"))
        parts.append(rectangle(start, top + 3, width, row - 7, "phase"))
        parts.append(text(start + width + 6, top + 14, time(seconds), "start"))
        begin += seconds
    budget = f"the budget of {time(budget_seconds)}"
    counted = counted_seconds(phases)
    share = f"{counted / budget_seconds:.1%} of {budget}" if budget_seconds else budget
    which = f"{time(counted)} without the canary, " if counted < total else ""
    parts.append(text(left, height - 8, f"{time(total)} in all, {which}{share}", "start", "mark"))
    return _svg(height, parts, "Where the time of the release went")


def differences_plot(behaviour: Behaviour) -> Markup:
    """One bar for each prompt: the largest shift of a distribution; the tolerance is a line.

    Evidence of earlier builds has the largest difference of a chosen token's log-probability in its place.
    """
    tolerated = behaviour.tolerance_shift.max_nats if behaviour.tolerance_shift else behaviour.tolerance_nats
    rows = [(one, one.shift.max_nats if one.shift else one.max_nats) for one in (*behaviour.differences, *behaviour.probes)]
    row, left, right = 20.0, 190.0, WIDTH - 130
    # Nothing at all may be tolerated, and nothing at all differ.
    most = 1.15 * max(tolerated, *(nats for _, nats in rows), 0.0) or 1.0
    bottom = 6 + row * len(rows)
    mark = left + tolerated / most * (right - left)
    parts = [
        line(mark, 4, mark, bottom + 4, "limit"),
        text(mark, bottom + 20, f"noise: {tolerated:.4f} nats", "middle", "mark"),
    ]
    for index, (difference, nats) in enumerate(rows):
        top = 6 + index * row
        within = (difference.first_token is None or difference.tie) and nats <= tolerated
        width = max(1.0, nats / most * (right - left))
        parts.append(text(left - 8, top + 13, _cut(difference.name), "end"))
        parts.append(rectangle(left, top + 3, width, row - 7, "within" if within else "beyond"))
        parts.append(text(left + width + 6, top + 13, f"{nats:.4f}, {_told(difference)}", "start"))
    return _svg(bottom + 28, parts, "Largest difference between the distributions at a position, for each prompt")


def _told(difference: Difference) -> str:
    if difference.reread:
        return "read as other tokens"
    if difference.first_token is None:
        return "same text"
    return f"{'a tie' if difference.tie else 'differs'} at token {difference.first_token}"


def power_plot(power: Power) -> Markup:
    """How surely the comparison fails, by the noise on all weights; the noises of the table are marks."""
    height, left, right, top, bottom = 210.0, 52.0, WIDTH - 16, 14.0, 162.0
    x = LogScale(low=1e-5, high=1.0, left=left, right=right)

    def y(share: float) -> float:
        return round(bottom - share * (bottom - top), 2)

    parts = [
        line(left, y(share), right, y(share), "grid") + text(left - 8, y(share) + 4, f"{share:.0%}", "end") for share in (0.0, 0.5, 1.0)
    ]
    for decade in range(-5, 1):
        place = x(10.0**decade)
        parts.append(line(place, top, place, bottom, "grid") + text(place, bottom + 18, f"{10.0**decade * 100:g} %", "middle"))
    noises = [10 ** (-5 + step / 20) for step in range(101)]
    points = [(x(noise), y(power_against(noise, power.spread_nats, power.tolerance_nats, power.texts))) for noise in noises]
    path = "M" + "L".join(f"{across},{up}" for across, up in points)
    parts.append(Markup('<path class="curve c0" d="{}"/>').format(path))
    for level in power.levels:
        parts.append(line(x(level.noise), y(0.0), x(level.noise), y(level.power), "interval"))
    parts.append(text((left + right) / 2, height - 8, "noise on every weight, as a share of it, logarithmic", "middle"))
    return _svg(height, parts, "How surely a noise on the weights would have been seen")


def time(seconds: float) -> str:
    """A time as people read it."""
    if seconds == 0:
        return "0 s"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def _cut(name: str) -> str:
    return name if len(name) <= 26 else name[:25] + "…"


def _svg(height: float, parts: Sequence[Markup], label: str) -> Markup:
    head = Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">').format(WIDTH, height, label)
    return head + Markup("").join(parts) + Markup("</svg>")
