"""What there is to see, for those who may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from blocks.errors import PipelineError, RegistryUnreachable
from blocks.facts import Node
from blocks.facts.registry import Event, OpenRequest
from blocks.registry.overview import BegunCandidate, FleetPlace, ModelVerdict
from flows.console.reads.clusters import EnvironmentNodes
from flows.console.reads.fleet import fleet_of, page_of
from flows.console.reads.history import lines_of, measured_of
from flows.console.reads.known import Fresh, Unknown, everything
from flows.console.reads.nodes import LastScrub, nodes_of
from flows.console.reads.routes import routes_of
from tests.support.examples import candidate

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLACE = FleetPlace(
    organisation=None,
    model="tiny",
    environment="staging",
    hub_revision="a" * 40,
    namespace="models",
    endpoint="tiny:8000",
    status="ready",
    status_reason=None,
    disabled_from=None,
    fingerprint="f" * 64,
    helm_revision=1,
    git_commit=None,
    verified_at=NOW,
    last_checked_at=NOW,
    health_window="+++++",
    updated_at=NOW,
    passed_at=NOW,
    evidence_sha256="e" * 64,
    held_by=None,
)
EVENT = Event(
    id=1,
    occurred_at=NOW,
    kind="deploying",
    organisation=None,
    model="tiny",
    environment="staging",
    fingerprint="f" * 64,
    run_id="run",
    actor=None,
    detail={},
)


def request(model: str, environment: str) -> OpenRequest:
    return OpenRequest(**{**vars(EVENT), "kind": "approval_requested", "model": model, "environment": environment}, frozen_until=None)


def test_the_fleet_comes_in_pages_of_models_of_which_a_caller_sees_their_own() -> None:
    places = [replace(PLACE, model=f"m{number}", environment=name) for number in range(5) for name in ("staging", "production")]
    places[3] = replace(places[3], status="degraded", endpoint=None, status_reason="answers are wrong")
    fleet = fleet_of(places, [request("new", "production")], ["staging", "production"])

    first = page_of(fleet, everything, limit=2)
    assert [row.model for row in first.rows] == ["m0", "m1"]
    assert (first.models, first.matched, first.after, first.attention) == (6, 6, "m1", 2)
    assert first.counts == {"staging": {"ready": 5}, "production": {"ready": 4, "degraded": 1}}
    last = page_of(fleet, everything, after="m3", limit=2)
    assert ([row.model for row in last.rows], last.after) == (["m4", "new"], None)
    assert last.rows[1].waits == {"production": "run"}
    assert [row.model for row in page_of(fleet, everything, status="attention").rows] == ["m1", "new"]
    assert [row.model for row in page_of(fleet, everything, status="degraded").rows] == ["m1"]
    assert [row.model for row in page_of(fleet, everything, search=" M1").rows] == ["m1"]

    mine = page_of(fleet, lambda model, environment: (model, environment) == ("m1", "staging"))
    assert [(row.model, [place.environment for place in row.places]) for row in mine.rows] == [("m1", ["staging"])]
    assert (mine.models, mine.attention, mine.environments) == (1, 0, ("staging",))
    routes = routes_of(fleet, everything, environment="production")
    assert [(route.endpoint, route.why) for route in routes if route.model in ("m0", "m1")] == [
        ("tiny:8000", None),
        (None, "answers are wrong"),
    ]


def test_what_was_read_is_read_again_beside_those_who_look_and_what_is_too_old_is_waited_for() -> None:
    now, begun = [0.0], list[Callable[[], None]]()
    answers: Iterator[str | PipelineError] = iter(["a", "b", RegistryUnreachable("it is gone"), RegistryUnreachable("it is gone"), "c"])

    def read() -> str:
        if isinstance(answer := next(answers), PipelineError):
            raise answer
        return answer

    fresh = Fresh(read, 2.0, clock=lambda: now[0], beside=begun.append)
    assert [fresh.get(), fresh.get(), len(begun)] == ["a", "a", 0]

    now[0] = 2.5  # old: as it is, and read anew beside
    assert fresh.get() == "a"
    begun.pop()()
    assert fresh.get() == "b"

    now[0] = 5.0  # what cannot be read keeps nobody from what is known, until that is too old
    assert fresh.get() == "b"
    begun.pop()()
    assert fresh.get() == "b"
    now[0] = 6.5
    with pytest.raises(RegistryUnreachable):
        fresh.get()
    assert fresh.get() == "c"


def test_a_line_for_each_candidate_says_where_it_has_been_and_what_it_changed() -> None:
    first = candidate()
    second = replace(first, engine=replace(first.engine, max_model_len=first.engine.max_model_len * 2))
    begun = [BegunCandidate(fingerprint=each.fingerprint, document=each.document(), begun_at=NOW) for each in (second, first)]
    odd = BegunCandidate(fingerprint="0" * 64, document={"of": "another version"}, begun_at=NOW)
    events = [
        replace(EVENT, kind=kind, environment=environment, fingerprint=each.fingerprint, detail=detail)
        for kind, environment, each, detail in (
            ("deploying", "staging", first, {}),
            ("ready", "staging", first, {}),
            ("deploying", "staging", second, {}),
            ("ready", "staging", second, {}),
            ("superseded", "staging", first, {}),
            ("approval_requested", "production", second, {}),
            ("approval_granted", "production", second, {"approvers": ["ann"]}),
            ("deploying", "production", second, {}),
            ("failed", "production", second, {"reason": "no GPU"}),
        )
    ]

    lines = lines_of([*begun, odd], list(reversed(events)), [])

    assert [[(stay.environment, stay.state) for stay in line.stays] for line in lines] == [
        [("staging", "ready"), ("production", "failed")],
        [("staging", "superseded")],
        [],
    ]
    assert (lines[0].stays[1].approved_by, lines[0].stays[1].reason) == (("ann",), "no GPU")
    assert [change.what for change in lines[0].changes] == ["engine.max_model_len"]
    assert (lines[1].changes, lines[2].candidate) == ((), None)


def test_figures_of_evidence_are_figures_or_none() -> None:
    said = ModelVerdict(
        id=1,
        occurred_at=NOW,
        environment="staging",
        fingerprint="f",
        run_id="r",
        outcome="passed",
        sentence="passed",
        evidence_sha256="e",
        p50={"value": 0.25},
        p95={"value": "<script>"},
        tokens_per_second=float("nan"),
        p50_limit=0.3,
        p95_limit=[],
        exact_share=True,
        max_nats=-1,
    )

    found = measured_of(said)

    assert (found.p50_seconds, found.p50_limit_seconds) == (0.25, 0.3)
    assert {found.p95_seconds, found.tokens_per_second, found.p95_limit_seconds, found.exact_share, found.max_nats} == {None}


def test_nodes_are_told_of_by_clusters_and_scrubs_and_what_cannot_be_asked_is_named() -> None:
    node = Node(
        name="gpu-1",
        ready=True,
        schedulable=True,
        gpus=8,
        gpu_memory_bytes=80 << 30,
        gpu_product="H100",
        disk_bytes=1 << 40,
        disk_pressure=False,
        taints=(),
    )
    scrub = LastScrub(
        at=NOW,
        environment="staging",
        event_id=3,
        evidence_sha256=None,
        contents=None,
        size_bytes=None,
        skipped=None,
        corrupt=1,
        snapshots=("a/b",),
    )
    asked = {
        "staging": EnvironmentNodes(nodes=(node,), mounted={"gpu-1": ("x",)}),
        "development": EnvironmentNodes(nodes=(node,), mounted={"gpu-1": ("y",)}),
        "production": Unknown(why="the cluster did not answer"),
    }
    scrubs = [("gpu-1", scrub), ("gpu-1", replace(scrub, at=NOW - timedelta(days=1), corrupt=0)), ("gone", scrub)]

    view = nodes_of(asked, scrubs)

    gone, gpu = view.nodes
    assert (gone.name, gone.node, gone.environments) == ("gone", None, ("staging",))
    assert (gpu.mounted, gpu.environments) == (("x", "y"), ("staging", "development"))
    assert gpu.scrub is not None
    assert gpu.scrub.corrupt == 1
    assert view.unknown == {"production": "the cluster did not answer"}
