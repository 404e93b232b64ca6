"""Draws rooms floor by floor, and the arrows between them: few crossings, straight where an arrow passes floors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from tests.project.architecture import BLOCKS, FLOWS, Room

WIDTH, FLOOR, BOX_WIDTH, BOX_HEIGHT, MARGIN, GAP = 980, 84, 148, 46, 24, 34
#: Room that an arrow needs where it passes a floor.
PASSING = 12

_STYLE = """
  .ground { fill: #ffffff } .band { fill: #f1f5f9 } .box { fill: #ffffff; stroke: #64748b; stroke-width: 1.5 }
  .main { fill: #1d4ed8; stroke: #1d4ed8 } .base { fill: #e2e8f0; stroke: #94a3b8 }
  .name { fill: #0f172a; font-weight: 600 } .lines { fill: #475569; font-size: 12px } .on { fill: #ffffff }
  .arrow { fill: none; stroke: #64748b; stroke-width: 1.5 } .head { fill: #64748b }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .band { fill: #161b22 } .box { fill: #21262d; stroke: #8b949e }
    .main { fill: #1f6feb; stroke: #1f6feb } .base { fill: #30363d; stroke: #6e7681 }
    .name { fill: #f0f6fc } .lines { fill: #b1bac4 } .on { fill: #ffffff }
    .arrow { stroke: #8b949e } .head { fill: #8b949e }
  }
"""


@dataclass
class _Place:
    """Something on a floor: a room's box, or where an arrow passes."""

    floor: int
    width: float
    x: float = 0
    room: Room | None = None


@dataclass(frozen=True)
class _Arrow:
    """From a box over the places that it passes to another box."""

    way: tuple[_Place, ...]

    def steps(self) -> Iterator[tuple[_Place, _Place]]:
        return pairwise(self.way)


def picture(rooms: Sequence[Room]) -> str:
    """The SVG, the same for the same rooms."""
    places = {room.name: _Place(room.floor, _width(room), room=room) for room in rooms}
    floors = [[place for place in places.values() if place.floor == number] for number in range(max(room.floor for room in rooms) + 1)]
    arrows = []
    for room in rooms:
        for name in room.imports:
            passed = [_Place(floor, PASSING) for floor in range(room.floor + 1, places[name].floor)]
            for place in passed:
                floors[place.floor].append(place)
            arrows.append(_Arrow((places[room.name], *passed, places[name])))
    _arrange(floors, arrows)
    height = len(floors) * FLOOR + 2 * MARGIN + 24
    text = "\n".join(room.text for room in rooms)
    bands = [
        f'<rect class="band" x="{MARGIN}" y="{_top(number) - 10}" width="{WIDTH - 2 * MARGIN}" height="{BOX_HEIGHT + 20}" rx="10"/>'
        for number in range(len(floors))
    ]
    note = "An arrow leads from a room to one that it imports; one that follows from others is left out. Lines include comments."
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="ui-sans-serif, system-ui, sans-serif" '
            'font-size="15" role="img" aria-labelledby="title text">',
            '<title id="title">The rooms of flows/, floor by floor, and what they import</title>',
            f'<desc id="text">\n{escape(text)}\n</desc>',
            f"<style>{_STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
            f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
            *bands,
            *(_drawn(arrow, arrows) for arrow in arrows),
            *(_box(place) for place in places.values()),
            f'<text class="lines" x="{WIDTH / 2:g}" y="{height - MARGIN + 4}" text-anchor="middle">{note}</text>',
            "</svg>\n",
        ]
    )


def _width(room: Room) -> float:
    if room.name == BLOCKS:
        return WIDTH - 2 * MARGIN - 24
    return max(BOX_WIDTH, 7.5 * len(" · ".join(room.parts))) if room.parts else BOX_WIDTH


def _top(floor: int) -> int:
    return MARGIN + 10 + floor * FLOOR


def _arrange(floors: list[list[_Place]], arrows: Sequence[_Arrow]) -> None:
    """Give each place its x: near to what it is joined with, first for few crossings, then for straight arrows."""
    near: dict[int, list[_Place]] = {}
    for arrow in arrows:
        for upper, lower in arrow.steps():
            near.setdefault(id(upper), []).append(lower)
            near.setdefault(id(lower), []).append(upper)
    for places in floors:
        for number, place in enumerate(places):
            place.x = number
    best, order = _crossings(floors, arrows), [list(places) for places in floors]
    for turn in range(24):
        for places in floors if turn % 2 == 0 else reversed(floors):
            side = -1 if turn % 2 == 0 else 1
            wanted = {
                id(place): _mean([one.x for one in near.get(id(place), []) if (one.floor - place.floor) * side > 0], place.x)
                for place in places
            }
            places.sort(key=lambda place: wanted[id(place)])
            for number, place in enumerate(places):
                place.x = number - len(places) / 2
        _swap_neighbours(floors, arrows)
        if (now := _crossings(floors, arrows)) < best:
            best, order = now, [list(places) for places in floors]
    for places, kept in zip(floors, order, strict=True):
        places[:] = kept
        _spread(places, [number * 1.0 for number in range(len(places))])
    straight = {id(place): arrow.way for arrow in arrows for place in arrow.way[1:-1]}
    for _ in range(200):
        for places in floors:
            _spread(places, [_mean([one.x for one in straight.get(id(place), near.get(id(place), []))], place.x) for place in places])
    for _ in range(50):  # what passes floors does so in a straight line, where there is room
        for places in floors:
            _spread(places, [_mean([one.x for one in straight.get(id(place), ())[1:-1]], place.x) for place in places])
    left = min(place.x - place.width / 2 for places in floors[:-1] for place in places)
    right = max(place.x + place.width / 2 for places in floors[:-1] for place in places)
    for places in floors:
        for place in places:
            place.x += WIDTH / 2 - (left + right) / 2
    for place in floors[-1]:  # the blocks carry all of it
        place.x = WIDTH / 2


def _swap_neighbours(floors: list[list[_Place]], arrows: Sequence[_Arrow]) -> None:
    for places in floors:
        for number in range(len(places) - 1):
            before = _crossings(floors, arrows)
            one, other = places[number], places[number + 1]
            places[number], places[number + 1], one.x, other.x = other, one, other.x, one.x
            if _crossings(floors, arrows) >= before:
                places[number], places[number + 1], one.x, other.x = one, other, other.x, one.x


def _crossings(floors: list[list[_Place]], arrows: Sequence[_Arrow]) -> int:
    steps = [step for arrow in arrows for step in arrow.steps()]
    found = 0
    for number in range(len(floors)):
        here = [(upper.x, lower.x) for upper, lower in steps if upper.floor == number]
        found += sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for index, a in enumerate(here) for b in here[index + 1 :])
    return found


def _spread(places: list[_Place], wanted: list[float]) -> None:
    """Put them as near as can be to where they want to be, in their order and without touching (least squares)."""
    offsets, at = [], 0.0
    for number, place in enumerate(places):
        at += (places[number - 1].width + place.width) / 2 + GAP if number else 0
        offsets.append(at)
    groups: list[list[float]] = []  # each: sum, count
    for want, offset in zip(wanted, offsets, strict=True):
        groups.append([want - offset, 1])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] > groups[-1][0] / groups[-1][1]:
            total, count = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += count
    levels = [total / count for total, count in groups for _ in range(int(count))]
    for place, level, offset in zip(places, levels, offsets, strict=True):
        place.x = level + offset


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _drawn(arrow: _Arrow, arrows: Sequence[_Arrow]) -> str:
    first, last = arrow.way[0], arrow.way[-1]
    start = _port(first, [other.way[1].x for other in arrows if other.way[0] is first], arrow.way[1].x)
    end = _port(last, [other.way[-2].x for other in arrows if other.way[-1] is last], arrow.way[-2].x)
    x, y = start, float(_top(first.floor) + BOX_HEIGHT)
    path = f"M{x:.0f} {y:.0f}"
    for place in arrow.way[1:]:
        to_x, top = (end, _top(place.floor) - 2.0) if place is last else (place.x, float(_top(place.floor)))
        middle = (y + top) / 2
        path += f" C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {top:.0f}"
        x, y = to_x, top
        if place is not last:
            y += BOX_HEIGHT
            path += f" L{x:.0f} {y:.0f}"
    return f'<path class="arrow" d="{path}" marker-end="url(#head)"/>'


def _port(place: _Place, others: Sequence[float], x: float) -> float:
    """Where on its edge a box is joined: side by side, in the order of what is joined; a wide one right where the arrow comes."""
    if place.room is not None and place.room.parts:
        return min(max(x, place.x - place.width / 2 + BOX_WIDTH / 2), place.x + place.width / 2 - BOX_WIDTH / 2)
    rank = sorted(others).index(x)
    step = min(24.0, (place.width - 24) / max(len(others), 1))
    return place.x + (rank - (len(others) - 1) / 2) * step


def _box(place: _Place) -> str:
    assert place.room is not None
    room, top = place.room, _top(place.floor)
    kind, on = {FLOWS: (" main", " on"), BLOCKS: (" base", "")}.get(room.name, ("", ""))
    below = f"{' · '.join(room.parts)}" if room.parts else f"{_rounded(room.lines)} lines"
    name = f"{'the flows' if room.name == FLOWS else room.name}, {_rounded(room.lines)} lines" if room.parts else room.name
    return (
        f'<rect class="box{kind}" x="{place.x - place.width / 2:.0f}" y="{top}" width="{place.width:.0f}" height="{BOX_HEIGHT}" rx="8"/>'
        f'<text class="name{on}" x="{place.x:.0f}" y="{top + 20}" text-anchor="middle">{name}</text>'
        f'<text class="lines{on}" x="{place.x:.0f}" y="{top + 37}" text-anchor="middle">{below}</text>'
    )


def _rounded(lines: int) -> str:
    return f"{round(lines, -2) if lines >= 1000 else round(lines, -1):,}"
