"""What `slipway canary status` prints."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from blocks.registry import PHASES, Canary
from flows.cli.canary import canary_lines

AT = datetime(2026, 11, 28, 22, 10, tzinfo=UTC)
RUNNING = Canary(
    organisation=None,
    model="tiny",
    environment="production",
    run_id="run-2",
    stable="a" * 64,
    canary="b" * 64,
    endpoint="tiny-production-b.models.svc.cluster.local:8000",
    weight=25,
    shadow=10,
    phase="running",
    step=1,
    steps=[{"weight": 5}, {"weight": 25}, {"weight": 100}],
    began_at=AT,
    since=AT,
    until=AT.replace(hour=23),
    judge={},
    judged_at=None,
    wish=None,
    wish_actor=None,
    wish_reason=None,
    wished_at=None,
    outcome=None,
    outcome_reason=None,
)


def test_one_that_runs() -> None:
    assert list(canary_lines(RUNNING)) == [
        "tiny in production: running, 25 % of the requests and copies of 10 %, step 2 of 3, until 2026-11-28 23:10Z",
        "    aaaaaaaaaaaa serves, bbbbbbbbbbbb is tried; run run-2, begun 2026-11-28 22:10Z",
    ]


def test_what_the_judge_says() -> None:
    judged = replace(RUNNING, judge={"verdict": {"reason": "no harm is seen by now"}})
    assert list(canary_lines(judged))[2:] == ["    no harm is seen by now"]
    for odd in ({"verdict": 7}, {"verdict": {"reason": 7}}):
        assert len(list(canary_lines(replace(RUNNING, judge=odd)))) == 2


def test_what_somebody_wants_and_how_it_ended() -> None:
    wished = replace(RUNNING, wish="abort", wish_actor="ada", wish_reason="it leaks", wished_at=AT)
    assert list(canary_lines(wished))[2:] == ["    ada wants it to abort: it leaks"]
    ended = replace(RUNNING, phase="ended", weight=0, shadow=0, until=None, outcome="harmful", outcome_reason="P95 is 40 % longer")
    first, pair, reason = canary_lines(ended)
    assert (first, reason) == ("tiny in production: ended, harmful", "    P95 is 40 % longer")
    assert "was tried" in pair
    warm = replace(RUNNING, phase="warm", weight=0, shadow=0)
    assert "aaaaaaaaaaaa kept warm, bbbbbbbbbbbb serves" in list(canary_lines(warm))[1]


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_can_be_told(phase: str) -> None:
    assert list(canary_lines(replace(RUNNING, phase=phase, outcome="aborted", steps=[], until=None)))  # type: ignore[arg-type]
