"""A picture of what a change buys: memory of one GPU over the length of the context, and over concurrency. One SVG, without a script.

Colours follow light and dark; texts are escaped here. Lengths are SVG user units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from flows.fit.request import Cost
from flows.fit.verdict import RESERVE_BYTES
from flows.text import GIB, gib
from flows.text.svg import LogScale, line, rectangle, text

_WIDTH, _HEIGHT = 860.0, 420.0

#: The two plots: left and right edge of each; top and bottom of both.
_LEFT, _RIGHT, _TOP, _BOTTOM = (64.0, 410.0), (494.0, 840.0), 76.0, 330.0

_STYLE = Markup("""<style>
svg{--ink:#1c2530;--faint:#d9dee5;--weights:#8a97a8;--reserve:#c5ccd6;--kv:#2f74c0;--limit:#c0392b;--back:#fff}
@media(prefers-color-scheme:dark){
svg{--ink:#dfe5ec;--faint:#37414d;--weights:#73808f;--reserve:#4b5664;--kv:#5b9ce0;--limit:#e57368;--back:#161b22}}
text{font:12px system-ui,sans-serif;fill:var(--ink)}.title{font-weight:600;font-size:14px}.grid{stroke:var(--faint)}
.weights{fill:var(--weights)}.reserve{fill:var(--reserve)}.kv{fill:var(--kv)}
.limit{stroke:var(--limit);stroke-dasharray:6 4;stroke-width:1.5}
.asked{stroke:var(--ink);stroke-dasharray:2 3}.mark{fill:var(--limit)}.back{fill:var(--back)}
</style>""")


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values of one of the two plots lie; the horizontal scale is logarithmic."""

    left: float
    right: float
    low: float
    high: float
    most_bytes: float

    def x(self, value: float) -> float:
        return LogScale(low=self.low, high=self.high, left=self.left, right=self.right)(value)

    def y(self, size: float) -> float:
        return round(_BOTTOM - min(1.0, size / self.most_bytes) * (_BOTTOM - _TOP), 1)

    def values(self) -> list[int]:
        """Where the curve is drawn: powers of two and three points between them."""
        steps = 4 * math.ceil(math.log2(self.high / self.low))
        found = {min(int(self.high), max(1, round(self.low * 2 ** (step / 4)))) for step in range(steps + 1)}
        return sorted(found | {int(self.low), int(self.high)})


def memory_plot(
    name: str,
    cost: Cost,
    *,
    tokens: int,
    requests: int,
    longest: int | None,
    weights_bytes: int | None,
    usable_bytes: int | None,
) -> str:
    """Memory of one GPU over the context at the concurrency that was asked for, and over concurrency at the context that was.

    Args:
        name: The model, for the title.
        cost: What its requests take.
        tokens: The context that was asked for.
        requests: The concurrency that was asked for.
        longest: The longest context that the model was made for; none if that is not known.
        weights_bytes: What its weights take; none if that is not known.
        usable_bytes: What vLLM may take; none if that is not known.
    """
    fixed = (weights_bytes or 0, RESERVE_BYTES)
    furthest = max(longest or 0, tokens, 1024)
    most_requests = max(64, 2 ** math.ceil(math.log2(requests * 4)))
    asked = cost.gpu_bytes(tokens, requests)
    most = 1.25 * max(sum(fixed) + asked, usable_bytes or 0)
    over_context = _Frame(*_LEFT, 256.0, float(furthest), most)
    over_requests = _Frame(*_RIGHT, 1.0, float(most_requests), most)
    parts = [
        Markup('<rect class="back" width="{:.0f}" height="{:.0f}"/>').format(_WIDTH, _HEIGHT),
        text(_LEFT[0], 24, f"Memory of one GPU: {_cut(name)}", "start", "title"),
        *_legend(weights_bytes, usable_bytes),
        *_panel(over_context, fixed, lambda value: cost.gpu_bytes(value, requests), usable_bytes, tokens),
        text((_LEFT[0] + _LEFT[1]) / 2, _BOTTOM + 40, f"context in tokens, {requests:,} request(s) at once", "middle"),
        *_panel(over_requests, fixed, lambda value: cost.gpu_bytes(tokens, value), usable_bytes, requests),
        text((_RIGHT[0] + _RIGHT[1]) / 2, _BOTTOM + 40, f"requests at once, of {tokens:,} tokens", "middle"),
        text(_LEFT[0], _HEIGHT - 16, _sentence(cost, tokens, requests, sum(fixed), usable_bytes), "start"),
    ]
    label = f"Memory of one GPU over context and over concurrency: {_cut(name)}"
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">').format(
        _WIDTH, _HEIGHT, label
    )
    return str(head + _STYLE + Markup("").join(parts) + Markup("</svg>\n"))


def _panel(frame: _Frame, fixed: tuple[int, int], taken: Callable[[int], int], usable: int | None, asked: int) -> list[Markup]:
    parts: list[Markup] = []
    for size in _marks(frame.most_bytes):
        parts.append(line(frame.left, frame.y(size), frame.right, frame.y(size), "grid"))
        parts.append(text(frame.left - 8, frame.y(size) + 4, f"{size / GIB:,.0f} GiB", "end"))
    bottom = 0.0
    for kind, size in zip(("weights", "reserve"), fixed, strict=True):
        parts.append(_area(frame, [(frame.low, bottom + size), (frame.high, bottom + size)], bottom, kind))
        bottom += size
    curve = [(float(value), bottom + taken(value)) for value in frame.values()]
    parts.append(_area(frame, curve, bottom, "kv"))
    for value in _ticks(frame):
        parts.append(text(frame.x(value), _BOTTOM + 18, _short(value), "middle"))
    parts.append(line(frame.x(asked), _TOP, frame.x(asked), _BOTTOM, "asked"))
    if usable is not None:
        parts.append(line(frame.left, frame.y(usable), frame.right, frame.y(usable), "limit"))
        fitting = [value for value, size in curve if size <= usable]
        if fitting and fitting[-1] < frame.high:
            near = frame.x(fitting[-1]) < frame.left + 50
            parts.append(
                text(
                    frame.x(fitting[-1]) + (6 if near else 0),
                    frame.y(usable) - 6,
                    f"to {_short(fitting[-1])}",
                    "start" if near else "end",
                    "mark",
                )
            )
    return parts


def _area(frame: _Frame, curve: Sequence[tuple[float, float]], bottom: float, kind: str) -> Markup:
    edge = [f"{frame.x(value)},{frame.y(size)}" for value, size in curve]
    floor = frame.y(bottom)
    return Markup('<polygon class="{}" points="{}"/>').format(kind, " ".join([f"{frame.left},{floor}", *edge, f"{frame.right},{floor}"]))


def _legend(weights: int | None, usable: int | None) -> list[Markup]:
    entries = [("reserve", f"reserve {gib(RESERVE_BYTES)}"), ("kv", "KV cache")]
    if weights is not None:
        entries.insert(0, ("weights", f"weights {gib(weights)}"))
    parts: list[Markup] = []
    left = _LEFT[0]
    for kind, said in entries:
        parts.append(rectangle(left, 40, 12, 12, kind))
        parts.append(text(left + 18, 51, said, "start"))
        left += 40 + 7 * len(said)
    if usable is not None:
        parts += [line(left, 46, left + 26, 46, "limit"), text(left + 32, 51, f"vLLM may take {gib(usable)}", "start")]
    return parts


def _sentence(cost: Cost, tokens: int, requests: int, fixed: int, usable: int | None) -> str:
    asked = fixed + cost.gpu_bytes(tokens, requests)
    said = f"Asked for (dotted): {requests:,} request(s) of {tokens:,} tokens take {gib(asked)}"
    if usable is None:
        return f"{said}."
    return f"{said}, {gib(usable - asked)} less than there is." if asked <= usable else f"{said}, {gib(asked - usable)} more than there is."


def _marks(most: float) -> list[float]:
    step = 2 ** math.ceil(math.log2(max(most / GIB, 1e-3) / 6))
    return [step * index * GIB for index in range(math.floor(most / GIB / step) + 1)]


def _ticks(frame: _Frame) -> list[int]:
    first, last = math.ceil(math.log2(frame.low)), math.floor(math.log2(frame.high))
    every = max(1, math.ceil((last - first + 1) / 7))
    return [2**power for power in range(last, first - 1, -every)]


def _short(value: float) -> str:
    for size, word in ((2**20, "M"), (2**10, "K")):
        if value >= size:
            return f"{value / size:.3g}{word}"
    return f"{value:.0f}"


def _cut(name: str) -> str:
    return name if len(name) <= 70 else "…" + name[-69:]
