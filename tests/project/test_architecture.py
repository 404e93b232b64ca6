"""The picture of the rooms is what the import graph gives."""

from __future__ import annotations

from dataclasses import replace

from tests.project.architecture import ROOT, SVG, Room, described, measured
from tests.project.drawing import picture


def test_the_picture_of_the_rooms_is_that_of_the_code() -> None:
    shown, now = {room.name: room for room in described(SVG.read_text())}, {room.name: room for room in measured()}

    assert [replace(room, lines=0).text for room in shown.values()] == [replace(room, lines=0).text for room in now.values()], _RENEW
    for name, room in now.items():  # not to the line: a picture for every change would be read by nobody
        assert abs(room.lines - shown[name].lines) <= max(100, room.lines // 5), f"{name} has {room.lines} lines; {_RENEW}"


def test_the_picture_shows_what_its_text_says() -> None:
    assert SVG.read_text() == picture(described(SVG.read_text())), _RENEW


def test_the_text_of_a_room_is_read_as_it_was_written() -> None:
    for room in (
        Room(name="text", floor=3, lines=50),
        Room(name="flows", floor=2, lines=690, parts=("release", "sweep"), imports=("approval", "recovery")),
    ):
        assert Room.of(room.text) == room


def test_every_arrow_goes_down_and_every_room_is_on_the_page() -> None:
    rooms = {room.name: room for room in described(SVG.read_text())}
    page = (ROOT / "docs" / "architecture.md").read_text()

    assert len(rooms) > 20
    assert [room.name for room in rooms.values() if any(rooms[name].floor <= room.floor for name in room.imports)] == []
    assert [name for name in rooms if f"`{name}`" not in page] == []


_RENEW = "run `make architecture`"
