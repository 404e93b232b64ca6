"""A figure of a measurement: its name, value and unit, and the bar that it is held to, if there is one."""

from __future__ import annotations

Line = dict[str, object]


def percentile(values: list[float], percent: float) -> float:
    """The percentile by nearest rank."""
    return sorted(values)[max(0, -(-len(values) * int(percent) // 100) - 1)]


def line(name: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None) -> Line:
    """One figure; `met` says whether it keeps what is promised, if something is."""
    met = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    bar = {"at_most": at_most} if at_most is not None else {"at_least": at_least} if at_least is not None else {}
    return {"name": name, "value": round(value, 7), "unit": unit, **bar, **({"met": met} if bar else {})}
