"""The attacks that need no server hold with every run of the suite (`make attack` runs all); the frame can say no."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.attack.case import AREAS, Case, all_cases, refused
from tests.attack.table import in_readme

QUICK = [case for case in all_cases() if not case.shares]


@pytest.mark.parametrize("case", QUICK, ids=[case.name for case in QUICK])
def test_a_promise_holds(case: Case) -> None:
    case.attack()


def test_every_case_says_what_it_attacks() -> None:
    cases = all_cases()

    assert len({case.promise for case in cases}) == len(cases)
    assert all(case.area in AREAS and case.promise and not case.promise.endswith(".") for case in cases)


def test_the_readme_says_how_many_there_are_and_that_all_hold() -> None:
    counted = Counter(case.area for case in all_cases())

    assert in_readme() == {area: (counted[area], counted[area]) for area in AREAS}, "run `make attack ARGS=--readme`"


def test_what_is_taken_where_it_must_be_refused_does_not_hold() -> None:
    with pytest.raises(AssertionError, match="it was taken: 5"):
        refused(ValueError, int, "5")
    assert "invalid literal" in refused(ValueError, int, "five")
