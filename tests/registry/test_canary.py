"""Canaries: who may have one, what routers are told of it, and how it ends."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from typer.testing import CliRunner

from blocks.errors import RegistryRejected
from blocks.registry import Canary, RegistryClient
from flows.cli.app import app
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from conftest import Releases

PLACE = {"model": "tiny", "environment": "production"}
BESIDE = "tiny-production-b.models.svc.cluster.local:8000"
ENDPOINT = "tiny-production.models.svc.cluster.local:8000"
STEPS = [{"weight": 5, "minutes": 10}, {"weight": 100}]
UNTIL = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A canary `b1` of run-2 beside `a1`, in a line."""

    releases: Releases
    fence: int | None = None

    @property
    def client(self) -> RegistryClient:
        return self.releases.client

    def begin(self, **other: Any) -> Canary:
        self.releases.begin("b1", "run-2")
        pair = {"stable": self.releases.fingerprint("a1"), "canary": self.releases.fingerprint("b1")}
        return self.client.canaries.begin(**{**PLACE, **pair, "endpoint": BESIDE, "steps": STEPS, "run_id": "run-2", **other})

    def change(self, **values: Any) -> Canary:
        return self.client.canaries.change(**{**PLACE, "run_id": "run-2", "fence": self.fence, **values})

    def end(self, **values: Any) -> Canary | None:
        return self.client.canaries.end(**{**PLACE, "run_id": "run-2", "outcome": "harmful", "reason": "it is slow", **values})

    def wish(self, wish: Any, **values: Any) -> Canary:
        return self.client.canaries.wish(**{**PLACE, "wish": wish, "reason": "looks fine", "actor": "ada", **values})

    def kinds(self) -> list[str]:
        return [kind for kind in self.releases.kinds() if kind.startswith("canary_")]

    def shares(self) -> tuple[int, str | None, int, int]:
        route = self.client.route("tiny")
        return route.weight, route.canary_endpoint, route.canary_weight, route.shadow


@pytest.fixture
def trial(releases: Releases) -> Trial:
    releases.release("a1", "run-1")
    return Trial(releases=releases)


def test_a_canary_from_its_beginning_to_its_end(trial: Trial) -> None:
    begun = trial.begin()
    assert (begun.phase, begun.weight, begun.shadow, begun.step, list(begun.steps)) == ("coming", 0, 0, 0, STEPS)
    assert trial.shares() == (100, None, 0, 0)

    shadowed = trial.change(phase="running", shadow=10, until=UNTIL)
    assert (shadowed.until, trial.shares()) == (UNTIL, (100, BESIDE, 0, 10))
    trial.change(weight=5, step=1)
    assert trial.shares() == (95, BESIDE, 5, 10)
    assert trial.client.route("tiny").canary_fingerprint == begun.canary
    trial.change(weight=100, shadow=0, phase="taking_over")
    assert trial.shares() == (0, BESIDE, 100, 0)

    # The endpoint means the new candidate from one moment on, and nothing is beside it any longer.
    trial.releases.ready("b1", "run-2")
    assert (trial.client.route("tiny").fingerprint, trial.shares()) == (begun.canary, (100, None, 0, 0))
    assert trial.change(phase="warm", until=UNTIL).weight == 0
    ended = trial.end(outcome="promoted", reason="")
    assert ended is not None
    assert (ended.phase, ended.outcome, ended.outcome_reason) == ("ended", "promoted", "")
    assert trial.client.canaries.open() == []
    assert trial.kinds() == [
        *["canary_begun", "canary_shifted", "canary_moved", "canary_shifted", "canary_shifted", "canary_moved"],
        *["canary_shifted", "canary_moved", "canary_ended"],
    ]


def test_a_canary_that_did_harm_leaves_what_serves_as_it_was(trial: Trial) -> None:
    before = trial.client.route("tiny")
    trial.begin()
    trial.change(phase="running", weight=25)

    trial.end()

    assert trial.client.route("tiny") == before
    last = trial.client.canaries.get("tiny", "production")
    assert last is not None
    assert (last.open, last.weight, last.outcome, last.outcome_reason) == (False, 0, "harmful", "it is slow")
    (event, *_) = trial.client.events.latest(limit=1)
    assert (event.kind, event.fingerprint, event.run_id) == ("canary_ended", last.canary, "run-2")
    assert event.detail == {"outcome": "harmful", "from": "running", "reason": "it is slow"}


def test_repeating_changes_nothing(trial: Trial) -> None:
    acts: list[Callable[[], Canary | None]] = [
        trial.begin,
        lambda: trial.change(phase="running", weight=5),
        lambda: trial.wish("hold"),
        trial.end,
    ]
    for act in acts:
        assert act() == act()
    assert trial.end(outcome="aborted") == trial.end()
    assert trial.kinds() == ["canary_begun", "canary_shifted", "canary_moved", "canary_wished", "canary_shifted", "canary_ended"]


def test_there_is_one_and_a_next_one_begins_anew(trial: Trial) -> None:
    trial.begin()
    with pytest.raises(RegistryRejected, match=r"a canary of tiny in production is open already: .* of run run-2 \(coming\)"):
        trial.begin(run_id="run-3")
    trial.change(phase="running", weight=5)
    trial.client.canaries.save_judge(**PLACE, run_id="run-2", state={"looks": 3})
    trial.wish("abort")
    trial.end()

    again = trial.begin(run_id="run-3")

    assert (again.run_id, again.phase, again.weight, again.judge, again.wish, again.outcome) == ("run-3", "coming", 0, {}, None, None)


def test_it_is_beside_what_serves(trial: Trial) -> None:
    with pytest.raises(RegistryRejected, match="does not serve tiny in production"):
        trial.begin(stable="c" * 64)
    with pytest.raises(RegistryRejected, match="is not registered"):
        trial.begin(canary="c" * 64)
    assert trial.client.canaries.get("tiny", "production") is None
    with pytest.raises(RegistryRejected, match="there is no canary of tiny in production"):
        trial.change(phase="running")
    assert trial.end() is None


def test_what_takes_the_model_out_takes_its_canary_out(trial: Trial) -> None:
    trial.begin()
    trial.change(phase="running", weight=5)
    trial.client.switch.disable("tiny", "production", reason="it leaks", actor="ada")
    assert (trial.client.route("tiny").http_status, *trial.shares()) == (503, 100, None, 0, 0)
    trial.client.switch.enable("tiny", "production", reason="mended", actor="ada")
    assert trial.shares() == (95, BESIDE, 5, 0)


def test_who_asks_for_a_hub_revision_gets_that_alone(trial: Trial, sql: psycopg.Connection) -> None:
    trial.begin()
    trial.change(phase="running", weight=5, shadow=10)
    route = trial.client.route("tiny", hub_revision="a" * 40)
    assert (route.weight, route.canary_endpoint, route.canary_fingerprint, route.canary_weight, route.shadow) == (100, None, None, 0, 0)
    through = "SELECT weight, canary_endpoint, canary_weight, shadow FROM "
    for asked in ("route('tiny')", "route_through_pooler('tiny')", "slipway_routes WHERE status = 'ready'"):
        assert sql.execute((through + asked).encode()).fetchall() == [(95, BESIDE, 5, 10)]


def test_another_candidate_that_becomes_ready_ends_the_share(trial: Trial) -> None:
    trial.begin()
    trial.change(phase="running", weight=5)

    trial.releases.release("c1", "run-3")
    # And back: the share does not come to life again.
    trial.releases.release("a1", "run-4")

    assert trial.shares() == (100, None, 0, 0)


def test_phases_follow_each_other_and_weights_rise(trial: Trial) -> None:
    trial.begin()
    for values, why in (
        ({"phase": "warm"}, "cannot go from coming to warm"),
        ({"phase": "taking_over"}, "cannot go from coming to taking_over"),
        ({"weight": 5}, "slipway_canaries_unrouted"),
        ({"phase": "running", "weight": 101}, "slipway_canaries_shares"),
        ({"phase": "running", "step": 101}, "slipway_canaries_steps"),
    ):
        with pytest.raises(RegistryRejected, match=why):
            trial.change(**values)
    trial.change(phase="running", weight=25)
    with pytest.raises(RegistryRejected, match="the weight of a canary rises or falls to 0, and does not go from 25 to 5"):
        trial.change(weight=5)
    assert trial.change(weight=0).weight == 0
    assert trial.change(phase="held").phase == "held"
    assert trial.change(phase="running", weight=5).weight == 5


def test_only_who_holds_the_lock_writes(trial: Trial) -> None:
    trial.begin()
    lock = trial.client.locks.take("tiny", "production", "run-2")
    held = replace(trial, fence=lock.fence)
    assert held.change(phase="running", weight=5).weight == 5
    with pytest.raises(RegistryRejected, match="holds tiny in production"):
        trial.change(weight=25)
    for write in (
        lambda: trial.client.canaries.save_judge(**PLACE, run_id="run-9", fence=lock.fence, state={}),
        lambda: trial.end(run_id="run-9"),
    ):
        with pytest.raises(RegistryRejected, match="may not write there"):
            write()
    assert held.wish("hold").wish == "hold", "a person needs no lock"


def test_the_judges_state_is_kept_and_bounded(trial: Trial) -> None:
    with pytest.raises(RegistryRejected, match="there is no canary"):
        trial.client.canaries.save_judge(**PLACE, run_id="run-2", state={})
    trial.begin()
    trial.client.canaries.save_judge(**PLACE, run_id="run-2", state={"e": 1.5, "counts": [1, 2]}, at=UNTIL)
    kept = trial.client.canaries.get("tiny", "production")
    assert kept is not None
    assert (kept.judge, kept.judged_at) == ({"e": 1.5, "counts": [1, 2]}, UNTIL)
    with pytest.raises(RegistryRejected, match="slipway_canaries_judge"):
        trial.client.canaries.save_judge(**PLACE, run_id="run-2", state={"much": list(range(200_000))})
    assert trial.kinds() == ["canary_begun"], "looks are no events"


def test_wishes(trial: Trial) -> None:
    with pytest.raises(RegistryRejected, match="there is no canary of tiny in production"):
        trial.wish("abort")
    trial.begin()
    for given, why in (
        ({"wish": "stop"}, "promote, abort, hold or resume, and not stop"),
        ({"reason": " "}, "needs a reason and a name"),
        ({"actor": "x" * 201}, "a name 200"),
    ):
        with pytest.raises(RegistryRejected, match=why):
            trial.wish(**{"wish": "abort", **given})
    first = trial.wish("hold")
    assert (first.wish, first.wish_actor, first.wish_reason) == ("hold", "ada", "looks fine")

    second = trial.wish("promote", actor="bob")
    # What the run does about the first does not take the second away.
    assert trial.change(phase="running", weight=5, heeds=first.wished_at).wish == "promote"
    assert trial.change(phase="taking_over", weight=100, heeds=second.wished_at).wish is None
    with pytest.raises(RegistryRejected, match="go back by slipway rollback"):
        trial.wish("abort")
    wished = [(event.actor, event.detail["wish"]) for event in trial.client.events.latest() if event.kind == "canary_wished"]
    assert wished == [("bob", "promote"), ("ada", "hold")]


def test_an_operator_may_wish_and_no_more(trial: Trial, dsn_as: Callable[[str], str]) -> None:
    trial.begin()
    with RegistryClient(dsn_as("slipway_operator")) as operator:
        assert operator.canaries.wish(**PLACE, wish="abort", reason="it leaks", actor="ada").wish == "abort"
        with pytest.raises(RegistryRejected, match="does not allow this"):
            operator.canaries.change(**PLACE, run_id="run-2", phase="running")
    with RegistryClient(dsn_as("slipway_router")) as router, pytest.raises(RegistryRejected, match="does not allow this"):
        router.canaries.wish(**PLACE, wish="abort", reason="it leaks", actor="ada")
    with RegistryClient(dsn_as("slipway_admin")) as pipeline:
        assert pipeline.canaries.change(**PLACE, run_id="run-2", phase="running", weight=5).weight == 5
        pipeline.canaries.save_judge(**PLACE, run_id="run-2", state={})
        ended = pipeline.canaries.end(**PLACE, run_id="run-2", outcome="aborted")
        assert ended is not None
        assert ended.wish is None, "nobody can heed it any longer"


def test_a_wish_for_a_place_that_is_made_up_leaves_no_chain(trial: Trial, sql: psycopg.Connection) -> None:
    before = sql.execute("SELECT count(*) FROM slipway_chains").fetchall()
    with pytest.raises(RegistryRejected):
        trial.wish("abort", model="made-up")
    assert sql.execute("SELECT count(*) FROM slipway_chains").fetchall() == before


def test_routers_hear_of_each_share_and_of_nothing_else(trial: Trial, dsn: str) -> None:
    trial.begin()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("LISTEN slipway_routes")

        def heard() -> list[str]:
            connection.execute("NOTIFY slipway_routes, 'end'")
            return list(itertools.takewhile("end".__ne__, (notice.payload for notice in connection.notifies(timeout=HANGS_SECONDS))))

        acts: list[tuple[Callable[[], object], int]] = [
            (lambda: trial.change(phase="running"), 0),
            (lambda: trial.change(weight=5), 1),
            (lambda: trial.change(shadow=10), 1),
            (lambda: trial.client.canaries.save_judge(**PLACE, run_id="run-2", state={"looks": 1}), 0),
            (lambda: trial.wish("hold"), 0),
            (lambda: trial.change(phase="held"), 0),
            (trial.end, 1),
        ]
        for act, notices in acts:
            act()
            assert len(heard()) == notices


def test_the_database_bounds_what_is_stored(trial: Trial, sql: psycopg.Connection) -> None:
    trial.begin()
    for change, constraint in (
        ("run_id = repeat('x', 201)", "texts"),
        ("canary_endpoint = E'host:1\\nset: cookie'", "texts"),
        ("organisation = ''", "texts"),
        ("steps = to_jsonb(repeat('x', 20000))", "steps"),
        ("steps = '{}'", "steps"),
        ("judge = '[]'", "judge"),
        ("judge = (repeat('{\"a\":', 300) || '1' || repeat('}', 300))::jsonb", "judge"),
        ("until = 'infinity'", "times"),
        ("wish = 'hold'", "wish"),
        ("phase = 'ended'", "outcome"),
        ("outcome = 'promoted'", "outcome"),
        ("phase = 'fine'", "moves"),
        ("canary_fingerprint = repeat('c', 64)", "kept"),
    ):
        with pytest.raises(psycopg.errors.CheckViolation) as refused:
            sql.execute(f"UPDATE slipway_canaries SET {change}".encode())  # noqa: S608 - written above
        assert refused.value.diag.constraint_name == f"slipway_canaries_{constraint}", change


def test_people_look_and_wish_at_the_command_line(trial: Trial, dsn_as: Callable[[str], str], tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text(dsn_as("slipway_operator"))

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["canary", *arguments], env={"SLIPWAY_REGISTRY_DSN_FILE": str(file)})
        assert done.exit_code == 0 or isinstance(done.exception, RegistryRejected), done.output
        return str(done.exception or done.output).strip()

    who = ("--reason", "looks fine", "--as", "ada")
    assert said("status") == "There is no canary."
    assert said("status", "tiny", "production") == "There is no canary of tiny in production."
    assert said("abort", "tiny", "production", *who) == "there is no canary of tiny in production"
    trial.begin()
    trial.change(phase="running", weight=5, shadow=10)
    assert said("status").splitlines()[0] == "tiny in production: running, 5 % of the requests and copies of 10 %, step 1 of 2"
    assert said("status", "other") == "There is no canary of other."

    for wish in ("promote", "abort", "hold", "resume"):
        assert said(wish, "tiny", "production", *who).startswith(f"Run run-2 is asked to {wish} the canary of tiny in production")
    assert "needs a reason and a name" in said("abort", "tiny", "production", "--reason", " ", "--as", "ada")
    (document,) = json.loads(said("status", "tiny", "--json"))
    assert (document["phase"], document["weight"], document["steps"]) == ("running", 5, STEPS)
    assert (document["wish"]["wish"], document["wish"]["as"], document["wish"]["reason"]) == ("resume", "ada", "looks fine")
    trial.end()
    assert said("status") == "There is no canary."
    assert said("status", "tiny", "production").splitlines()[0] == "tiny in production: ended, harmful"
