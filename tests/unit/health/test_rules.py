"""Hysteresis: three of the last five checks decide, in both directions; and what fails all at once is not believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flows.health.rules import unseen, verdict_of_window


def after(status: str, checks: str) -> list[str]:
    """The entry's status after each of the checks."""
    window, seen = "", []
    for check in checks:
        window = (window + check)[-5:]
        status = verdict_of_window(status, window) or status
        seen.append(status)
    return seen


def test_three_of_five_take_it_out() -> None:
    assert after("ready", "---") == ["ready", "ready", "degraded"]
    assert after("ready", "-+-+-")[-1] == "degraded"
    assert "degraded" not in after("ready", "--+++--+++")


def test_three_of_five_put_it_back() -> None:
    assert after("ready", "-----+++")[-3:] == ["degraded", "degraded", "ready"]
    assert after("ready", "---+-+")[-1] == "degraded"


def test_others_are_not_moved() -> None:
    assert {verdict_of_window(status, "-----") for status in ("pending", "deploying", "failed", "disabled", "degraded")} == {None}
    assert verdict_of_window("ready", "+++++") is None


@given(st.text("+-", min_size=1, max_size=200))
def test_each_move_has_three_checks_behind_it(checks: str) -> None:
    statuses = ["ready", *after("ready", checks)]

    for number in range(1, len(statuses)):
        if statuses[number] != statuses[number - 1]:
            sign = "-" if statuses[number] == "degraded" else "+"
            assert checks[max(0, number - 5) : number].count(sign) >= 3
            assert checks[number - 1] == sign


def failing(bad: int, of: int) -> list[bool]:
    return [number < bad for number in range(of)]


def test_most_at_once_is_not_believed_but_few_endpoints_are() -> None:
    def blind(bad: int, of: int) -> bool:
        return unseen({"production": failing(bad, of)}) == {"production"}

    assert blind(6, 10)
    assert not blind(5, 10)
    assert blind(2, 3)
    assert not blind(2, 2)
    assert not blind(1, 1)
    assert not blind(0, 0)


def test_one_environment_that_cannot_be_seen_does_not_hide_the_others() -> None:
    assert unseen({"development": failing(4, 4), "production": failing(1, 6)}) == {"development"}
    assert unseen({"development": failing(4, 4), "staging": failing(2, 2), "production": failing(1, 4)}) == {
        "development",
        "staging",
        "production",
    }
    assert unseen({}) == frozenset()
