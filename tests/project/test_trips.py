"""A concern lies in one place: following it does not lead to and fro."""

from __future__ import annotations

from pathlib import Path

from tests.project.trips import ROOT, Trip, count, modules

#: Of the functions that are read; it was a third before the layout by concern. A share, since a concern more is more to read.
BAR = 1 / 6


def test_a_reader_who_follows_one_thing_seldom_enters_a_folder_again() -> None:
    counted = count(ROOT)

    assert len(counted) == 12
    again = {trip: (found.entered_again, len(found.folders)) for trip, found in counted.items()}
    assert sum(entered for entered, _ in again.values()) <= BAR * sum(read for _, read in again.values()), again


def test_a_trip_follows_what_is_passed_on_by_name_by_object_and_through_callers(tmp_path: Path) -> None:
    texts = {
        "flows/a/one.py": (
            "from flows.b.two import Holder, two, other\n"
            "def start(candidate, registry):\n"
            "    run(two, candidate)\n"
            "    held = Holder(candidate=candidate)\n"
            "    near(held)\n"
            "    other(registry)\n"
            "    held.only_here(candidate)\n"
            "def near(held): ...\n"
        ),
        "flows/b/two.py": (
            "from flows.a.one import near\n"
            "def two(it): near(it)\n"
            "def other(registry): ...\n"
            "class Holder:\n"
            "    candidate: str\n"
            "    def only_here(self, it): ...\n"
        ),
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    known = modules(tmp_path)
    trip = Trip(known, "candidate")

    trip.follow(known["flows.a.one"].definitions["start"], {"candidate"})

    # start, two, near (from there: entered again), Holder (again), only_here (again); not other, which gets nothing that is followed
    assert trip.folders == ["flows/a", "flows/b", "flows/a", "flows/b", "flows/b"]
    assert trip.entered_again == 3
