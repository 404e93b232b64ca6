"""A run that is taken up again finds the step that its canary was at."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydantic import SecretStr

from blocks.errors import RegistryUnreachable
from blocks.registry import Registry
from flows.canary.tasks.steps import entered, give_up, go_through, judged_before, wait_before
from flows.delivery.move import Move
from flows.errors import CanaryAborted
from flows.spec import CanaryStep, RolloutPolicy

if TYPE_CHECKING:
    from conftest import Releases

PLACE: dict[str, Any] = {"model": "tiny", "environment": "production"}


def taken_up(releases: Releases, dsn: str) -> Move:
    """What a run works with whose canary is open; a cluster without pods."""
    steps = (CanaryStep(weight=5, minutes=1), CanaryStep(weight=25, minutes=1), CanaryStep(weight=100))
    cluster = SimpleNamespace(client=lambda: nullcontext(SimpleNamespace(pods=SimpleNamespace(list=lambda *_: ()))))
    given = SimpleNamespace(
        candidate=SimpleNamespace(model="tiny", fingerprint=releases.fingerprint("b1")),
        environment=SimpleNamespace(
            name="production", namespace="p", values={}, api_key_secret=None, rollout=RolloutPolicy(strategy="canary", steps=steps)
        ),
        plan=SimpleNamespace(helm_release="tiny-production", slot="b", engine="tiny-production-b"),
        blocks=SimpleNamespace(cluster=cluster, endpoint=None),
        registry=Registry(dsn=SecretStr(dsn)),
        lock=SimpleNamespace(fence=None),
        run_id="run-2",
        where="tiny in production",
    )
    return cast("Move", given)


def test_steps_that_were_done_are_not_done_again(releases: Releases, dsn: str) -> None:
    releases.release("a1", "run-1")
    releases.begin("b1", "run-2")
    client, pair = releases.client, {"stable": releases.fingerprint("a1"), "canary": releases.fingerprint("b1")}
    client.canaries.begin(**PLACE, **pair, endpoint="tiny-canary:8000", steps=[], run_id="run-2")
    client.canaries.change(**PLACE, run_id="run-2", phase="running", step=1, weight=25)
    move = taken_up(releases, dsn)

    # the first step is over, and its smaller share does not come back
    assert go_through.fn(move, 0, 5) is False
    assert client.route("tiny").canary_weight == 25

    # in the second a person has seen enough while nobody looked
    client.canaries.wish(**PLACE, wish="promote", reason="a fix", actor="ada")
    assert go_through.fn(move, 1, 25) is True
    assert client.canaries.get(**PLACE).wish is None  # type: ignore[union-attr]  # it is there

    # and once it takes over there is no step any longer
    client.canaries.change(**PLACE, run_id="run-2", phase="taking_over", weight=100)
    assert go_through.fn(move, 0, 5) is True
    assert go_through.fn(move, 1, 25) is True


def test_a_canary_that_is_ready_on_record_is_not_given_up(releases: Releases, dsn: str) -> None:
    releases.release("a1", "run-1")
    releases.begin("b1", "run-2")
    client, pair = releases.client, {"stable": releases.fingerprint("a1"), "canary": releases.fingerprint("b1")}
    client.canaries.begin(**PLACE, **pair, endpoint="tiny-canary:8000", steps=[], run_id="run-2")
    client.canaries.change(**PLACE, run_id="run-2", phase="running", weight=25)
    client.canaries.change(**PLACE, run_id="run-2", phase="taking_over", weight=100)
    releases.ready("b1", "run-2", helm_revision=3)

    # the answer to the record was lost: nothing of the release is touched
    give_up(taken_up(releases, dsn), RegistryUnreachable("no answer"))
    assert client.canaries.get(**PLACE).phase == "taking_over"  # type: ignore[union-attr]  # it is there


def test_a_canary_waits_before_a_step_that_people_must_agree_to(releases: Releases, dsn: str) -> None:
    releases.release("a1", "run-1")
    releases.begin("b1", "run-2")
    client, pair = releases.client, {"stable": releases.fingerprint("a1"), "canary": releases.fingerprint("b1")}
    client.canaries.begin(**PLACE, **pair, endpoint="tiny-canary:8000", steps=[], run_id="run-2")
    move = taken_up(releases, dsn)

    # before the first one it gets nothing
    asked = wait_before(move, 0)
    assert asked is not None
    assert (asked.weight, asked.now, client.route("tiny").canary_weight) == (5, 0, 0)

    # before another one it keeps what it has, and a run that is taken up again asks the same
    client.canaries.change(**PLACE, run_id="run-2", phase="running", step=0, weight=5)
    client.canaries.save_judge(**PLACE, run_id="run-2", state={"verdict": {"outcome": "none", "e_value": 1.0}, "watched": 61.5})
    assert wait_before(move, 0) is None
    asked = wait_before(move, 1)
    assert asked is not None
    assert (asked.told, asked.now, asked.verdict["outcome"]) == ("step 2 of 3 (25 % of the requests)", 5, "none")
    waits = client.canaries.get(**PLACE)
    assert waits is not None
    assert (waits.phase, waits.weight, waits.step, waits.until) == ("held", 5, 1, None)
    assert go_through.fn(move, 0, 5) is False
    again = wait_before(move, 1)
    assert again is not None
    assert again.document() == asked.document()
    assert client.canaries.get(**PLACE) == waits
    assert judged_before(move) == 61.5
    assert entered(move.registry, move.candidate, "production", "run-2") == waits.began_at
    assert entered(move.registry, move.candidate, "production", "run-3") is None

    # whoever wants it ended is heard when the run wakes, and whoever promotes it is no approver
    client.canaries.wish(**PLACE, wish="promote", reason="a fix", actor="ada")
    assert wait_before(move, 1) is not None
    client.canaries.wish(**PLACE, wish="abort", reason="odd answers", actor="ada")
    with pytest.raises(CanaryAborted, match="ada ended the canary"):
        wait_before(move, 1)
