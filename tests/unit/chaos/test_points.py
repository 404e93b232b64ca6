"""The harness of `make chaos`: each invariant can say no, and the points follow from what a run was seen to do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import httpx
import pytest

from sandbox.serving import LoopThread
from tests.chaos.facts import HelmRecord, InArgo, Intended, Row, Seen
from tests.chaos.http_reader import HttpReader, cluster_request, git_request, prefect_request
from tests.chaos.invariants import INVARIANTS, broken
from tests.chaos.points import Point, points_of
from tests.chaos.postgres_reader import PostgresReader
from tests.chaos.proxy import Proxy
from tests.chaos.trap import Begun, Noted, Request, Snare, Trap

OLD, NEW = "a" * 64, "b" * 64
COMMIT = "c" * 40
SERVES = Row(fingerprint=NEW, commit=COMMIT, status="ready", labels=(NEW[:16],), roots=(f"/models/{COMMIT}",))
REPLACED = Row(fingerprint=OLD, commit="d" * 40, status="disabled")
INTENDED = Intended(commit=COMMIT, approvals=1)
GOOD = Seen(
    state="Completed",
    message="",
    helm=(HelmRecord(release="tiny", number=1, status="superseded"), HelmRecord(release="tiny", number=2, status="deployed")),
    helm_release="tiny",
    helm_fingerprint=NEW,
    jobs={"prefetch-1": "ended"},
    locks={},
    rows=(SERVES, REPLACED),
    kinds={"deploying": 1, "verified": 1, "ready": 1, "timed": 1, "approved": 1, "approval_granted": 1},
    twice=(),
    codes_used={"ada": 1},
    broken_chain=None,
    asked=40,
)

#: What is doctored → the invariants that must notice, and a word of what they say.
DOCTORED: dict[str, tuple[dict[str, object], str, str]] = {
    "the run failed": ({"state": "Errored", "message": "no"}, "ends_as_intended", "Errored"),
    "a second Helm release": (
        {"helm": (*GOOD.helm, HelmRecord(release="other", number=1, status="deployed"))},
        "one_helm_release",
        "other",
    ),
    "no Helm release": ({"helm": ()}, "one_helm_release", "[]"),
    "Helm is pending": ({"helm": (HelmRecord(release="tiny", number=3, status="pending-upgrade"),)}, "one_helm_release", "pending-upgrade"),
    "two are deployed": ({"helm": (replace(GOOD.helm[0], status="deployed"), GOOD.helm[1])}, "one_helm_release", "all marked"),
    "Helm carries the old one": ({"helm_fingerprint": OLD}, "one_helm_release", "aaaa"),
    "a Job works on": ({"jobs": {"prefetch-2": "unfinished"}}, "no_orphan_job", "prefetch-2"),
    "helm works on": ({"processes": ("helm upgrade",)}, "no_orphan_process", "helm upgrade"),
    "a lock is held": ({"locks": {"development": "run-1"}}, "no_lock", "run-1"),
    "nothing is ready": ({"rows": (replace(SERVES, status="failed"), REPLACED)}, "ready_serves", "0 rows"),
    "two are ready": ({"rows": (SERVES, replace(SERVES, fingerprint=OLD))}, "ready_serves", "2 rows"),
    "nothing answers": ({"rows": (replace(SERVES, roots=()),)}, "ready_serves", "nothing answers"),
    "no pod is there": ({"rows": (replace(SERVES, labels=()),)}, "ready_serves", "nothing answers"),
    "an old pod is still behind it": ({"rows": (replace(SERVES, labels=(OLD[:16], NEW[:16])),)}, "ready_serves", "aaaa"),
    "another commit answers": ({"rows": (replace(SERVES, roots=("/models/" + "d" * 40,)),)}, "ready_serves", "dddd"),
    "a row is left deploying": ({"rows": (SERVES, replace(REPLACED, status="deploying"))}, "ready_serves", "left deploying"),
    "another revision is ready": (
        {"rows": (replace(SERVES, commit="d" * 40, roots=("/models/" + "d" * 40,)),)},
        "ready_serves",
        "not cccc",
    ),
    "a request was refused": ({"refused": ("after 1.0 s: 503",)}, "serves_meanwhile", "1 of 40 requests were refused"),
    "an answer was wrong": ({"wrong": ("after 1.0 s: 'x'",)}, "serves_meanwhile", "neither"),
    "an approval was lost": ({"kinds": {**GOOD.kinds, "approved": 0}, "codes_used": {}}, "approvals_count_once", "0 approvals"),
    "an approval counted twice": ({"kinds": {**GOOD.kinds, "approved": 2}}, "approvals_count_once", "2 approvals"),
    "the gate opened by itself": ({"kinds": {**GOOD.kinds, "approval_granted": 0}}, "approvals_count_once", "passed 0 times"),
    "a code was asked for twice": ({"kinds": {**GOOD.kinds, "approval_refused": 1}}, "approvals_count_once", "refused"),
    "one person approved twice": ({"codes_used": {"ada": 2}}, "approvals_count_once", "more than once"),
    "nobody can answer": ({"formless": True}, "answerable", "no form"),
    "the chain is broken": ({"broken_chain": "event 3 was altered"}, "chain_intact", "event 3"),
    "it is on record twice": ({"twice": ("ready",)}, "recorded_once", "twice"),
    "it went back twice": ({"kinds": {**GOOD.kinds, "rolled_back": 2}}, "recorded_once", "2 times"),
    "it is not on record": ({"kinds": {**GOOD.kinds, "ready": 0}}, "recorded_once", "`ready` of it is on record 0 times"),
    "it was taken up twice": ({"kinds": {**GOOD.kinds, "picked_up": 2}}, "recorded_once", "taken the run up 2 times"),
    "a failure that was none": ({"kinds": {**GOOD.kinds, "failed": 1}}, "recorded_once", "failure"),
}


#: The same where Argo CD delivers.
ARGO = InArgo(
    head="e" * 40,
    promoted=NEW,
    commits=(("promote", NEW[:12]),),
    recorded="f" * 40,
    delivered="f" * 40,
    sync="Synced",
    revision="e" * 40,
    resources=("Deployment/tiny",),
)
BY_ARGO = replace(GOOD, helm=(), helm_fingerprint=None, argo=ARGO)
DOCTORED_ARGO: dict[str, tuple[dict[str, object], str, str]] = {
    "Git says the old one": ({"promoted": OLD}, "git_agrees", "Git says candidate aaaa"),
    "another commit is on record": ({"recorded": "d" * 40}, "git_agrees", "dddd"),
    "Argo CD is behind": ({"revision": "d" * 40}, "git_agrees", "Synced at dddd"),
    "the cluster is not what Git says": ({"sync": "OutOfSync"}, "git_agrees", "OutOfSync"),
    "it was committed twice": ({"commits": ARGO.commits * 2}, "committed_once", "'promote', 'promote'"),
    "it was not committed": ({"commits": ()}, "committed_once", "[]"),
    "an operation runs on": ({"operation": "Running"}, "no_operation_left", "Running"),
}
REMOVED = replace(BY_ARGO, rows=(), state="Failed", kinds={"failed": 1}, codes_used={}, argo=replace(ARGO, promoted=None, resources=()))
NOTHING = Intended(state="Failed", commit="", commits=("promote",))


def test_a_world_in_order_breaks_nothing() -> None:
    assert broken(GOOD, INTENDED) == {}
    assert broken(BY_ARGO, replace(INTENDED, commits=("promote",))) == {}
    assert broken(REMOVED, NOTHING) == {}


@pytest.mark.parametrize("name", DOCTORED_ARGO)
def test_an_invariant_of_argo_notices(name: str) -> None:
    changes, invariant, says = DOCTORED_ARGO[name]

    found = broken(replace(BY_ARGO, argo=replace(ARGO, **changes)), replace(INTENDED, commits=("promote",)))  # type: ignore[arg-type]

    assert list(found) == [invariant]
    assert says in found[invariant]


def test_what_was_to_go_and_is_there_is_noticed() -> None:
    left = replace(REMOVED, argo=replace(ARGO, promoted=None))
    assert "Deployment/tiny is there" in broken(left, NOTHING)["git_agrees"]
    assert set(broken(replace(REMOVED, rows=(SERVES,)), NOTHING)) == {"ready_serves", "git_agrees"}
    assert set(broken(replace(BY_ARGO, helm=GOOD.helm), replace(INTENDED, commits=("promote",)))) == {"one_helm_release"}


@pytest.mark.parametrize("name", DOCTORED)
def test_an_invariant_notices(name: str) -> None:
    changes, invariant, says = DOCTORED[name]

    found = broken(replace(GOOD, **changes), INTENDED)  # type: ignore[arg-type]

    assert list(found) == [invariant]
    assert says in found[invariant]


def test_every_invariant_is_proven_to_say_no() -> None:
    assert {invariant for _, invariant, _ in [*DOCTORED.values(), *DOCTORED_ARGO.values()]} == {
        invariant.__name__ for invariant in INVARIANTS
    }


def test_without_a_spare_gpu_requests_may_be_refused() -> None:
    assert broken(replace(GOOD, refused=("after 1.0 s: 503",)), replace(INTENDED, spare_gpu=False)) == {}


def _seen(*told: str) -> list[Noted | Begun]:
    """What a run was seen to do: `begin TASK`, `begin TASK step`, `end TASK`, `end TASK step` (with `-` between tasks), or a request."""
    trap, writing = Trap(), ("POST", "PATCH", "PUT", "COMMIT", "set_state", "keep_lock")

    async def asked(what: str) -> None:
        await trap.passing(Request(what=what, writes=any(word in what for word in writing)))

    for each in told:
        moment, _, which = each.partition(" ")
        if moment in ("begin", "end"):
            task, _, step = which.partition(" ")
            trap.heard(f"{moment} {step or task}", "" if task == "-" else task)
        else:
            asyncio.run(asked(each))
    return trap.seen


def _names(points: Sequence[Point]) -> list[str]:
    names = [point.name for point in points]
    assert len(set(names)) == len(names)
    return names


RUN = (
    *("Prefect set_state", "begin - take_lock", "registry select", "COMMIT take_lock", "end - take_lock"),
    *("begin deploy", "GET applications", "begin deploy upgrade", "helm POST secrets", "registry keep_lock", "helm PATCH services"),
    *("end deploy upgrade", "end deploy", "begin rollout", *["GET pods"] * 6, "end rollout"),
    *("begin verify", "begin verify recall", "registry select", "end verify recall", *["GET /metrics"] * 5, "begin verify keep"),
    *("COMMIT add_event", "end verify keep", "Prefect POST artifacts", "end verify", "begin - free", "COMMIT add_event", "end - free"),
    "Prefect set_state",
)


def test_points_follow_what_a_run_was_seen_to_do() -> None:
    points = points_of("release", _seen(*RUN))

    assert _names(points) == [
        "release/run/before Prefect set_state 1",
        "release/take_lock/before COMMIT take_lock",
        "release/deploy/begins",
        "release/upgrade/before helm POST secrets",
        "release/upgrade/before helm POST secrets, helm lives on",
        "release/upgrade/before helm PATCH services",
        "release/upgrade/after helm PATCH services",
        "release/rollout/in its middle",
        "release/verify/in its middle",
        "release/keep/before COMMIT add_event 1",
        "release/verify/before Prefect POST artifacts",
        "release/free/before COMMIT add_event 2",
        "release/free/before Prefect set_state 2",
        "release/free/after Prefect set_state 2",
    ]


def test_points_of_a_part_of_a_run() -> None:
    seen = _seen(*RUN, "begin rollout", *["GET pods"] * 6, "begin - free", "COMMIT add_event")

    assert _names(points_of("part", seen, steps=["", "upgrade"], leg=2)) == [
        "part/run/before Prefect set_state 1",
        "part/upgrade/before helm POST secrets",
        "part/upgrade/before helm POST secrets, helm lives on",
        "part/upgrade/before helm PATCH services",
        "part/upgrade/after helm PATCH services",
    ]
    # what comes again has its own number, and a task that ran before is not killed when it begins
    assert _names(points_of("part", seen, since="free")) == [
        "part/free/before COMMIT add_event 2",
        "part/free/before Prefect set_state 2",
        "part/free/before COMMIT add_event 3",
        "part/free/after COMMIT add_event 3",
    ]
    assert _names(points_of("part", seen, only=["helm PATCH services"])) == [
        "part/upgrade/before helm PATCH services",
        "part/upgrade/after helm PATCH services",
    ]


def test_a_request_is_its_steps_and_its_tasks() -> None:
    told = ("GET jobs", "begin prefetch", "begin prefetch keep", "GET jobs", "end prefetch keep", "GET jobs", "GET jobs", "begin - note")

    def sprung_at(snare: Snare) -> int | None:
        """How many requests came until then."""
        trap = Trap()
        trap.arm(snare)
        for number, each in enumerate(told, 1):
            moment, _, which = each.partition(" ")
            if moment in ("begin", "end"):
                task, _, step = which.partition(" ")
                trap.heard(f"{moment} {step or task}", task)
            elif asyncio.run(trap.passing(Request(what=each, writes=False))):
                return number
        return None

    snare = Snare(what="GET jobs", number=2, moment="before", spring=lambda: None)
    assert sprung_at(snare) == 4
    assert sprung_at(replace(snare, task="prefetch")) == 6
    assert sprung_at(replace(snare, task="prefetch", what=None, number=3)) == 7
    assert sprung_at(replace(snare, task="keep", number=1)) == 4
    assert sprung_at(replace(snare, task="rollout")) is None


def test_what_a_busy_server_turns_away_is_no_point_and_the_next_try_has_its_number() -> None:
    trap = Trap()
    create, other = Request(what="Prefect POST flow_runs", writes=True), Request(what="Prefect POST artifacts", writes=True)

    async def ask(*requests: Request) -> list[str | None]:
        return [await trap.passing(request) for request in requests]

    # once it is noted, once it is waited for
    for snare in (None, Snare(what=create.what, number=2, moment="before", spring=lambda: None)):
        trap.arm(snare)
        asyncio.run(ask(create, other))
        trap.turned_away(create)
        assert asyncio.run(ask(create)) == [None]
        assert [(each.what, each.number) for each in trap.noted] == [(other.what, 1), (create.what, 1)]
    assert asyncio.run(ask(create)) == ["before"]


def test_a_proxy_hears_that_its_server_was_busy() -> None:
    answers = iter([b"503 Busy", b"200 OK", b"200 OK"])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof() and await reader.readline() != b"":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 " + next(answers) + b"\r\nContent-Length: 0\r\n\r\n")

    with LoopThread("busy") as loop:
        trap, server = Trap(), loop.run(asyncio.start_server(answer, "127.0.0.1"))
        host, port = server.sockets[0].getsockname()
        proxy = Proxy(loop, trap, lambda: HttpReader(prefect_request), lambda: asyncio.open_connection(host, port))
        with httpx.Client(base_url=f"http://127.0.0.1:{proxy.port}/api", trust_env=False) as client:
            seen = [client.post(path).status_code for path in ("/artifacts", "/artifacts", "/flow_runs")]
        proxy.close()

    assert seen == [503, 200, 200]
    assert [(each.what, each.number) for each in trap.noted] == [("Prefect POST artifacts", 1), ("Prefect POST flow_runs", 1)]


def test_requests_are_found_wherever_the_stream_is_cut() -> None:
    stream = (
        b"POST /api/v1/namespaces/n/secrets HTTP/1.1\r\nUser-Agent: Helm/4.0\r\nContent-Length: 5\r\n\r\nGET /"
        b"PATCH /apis/apps/v1/namespaces/n/deployments/d?force=true HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        b"GET /api/v1/namespaces/n/pods/p:8000/proxy/health HTTP/1.1\r\n\r\n"
    )
    for size in (1, 7, len(stream)):
        reader = HttpReader(cluster_request)
        pieces = [piece for begin in range(0, len(stream), size) for piece in reader.split(stream[begin : begin + size])]

        assert b"".join(data for data, _ in pieces) == stream
        requests = [(request.what, request.writes) for _, request in pieces if request is not None]
        assert requests == [("helm POST secrets", True), ("PATCH deployments", True), ("GET /health", False)]


def test_what_is_pushed_is_a_write_and_what_is_fetched_is_none() -> None:
    asked = [
        git_request("GET", "/platform/models.git/info/refs?service=git-receive-pack", {}),
        git_request("POST", "/platform/models.git/git-upload-pack", {}),
        git_request("POST", "/platform/models.git/git-receive-pack", {}),
    ]

    assert [(each.what, each.writes) for each in asked if each] == [("git GET", False), ("git POST", False), ("git push", True)]


def test_what_prefect_is_asked_is_no_write() -> None:
    run = "0f0f0f0f-0000-0000-0000-000000000000"
    named = [
        prefect_request("POST", f"/api/flow_runs/{run}/set_state", {}),
        prefect_request("POST", "/api/flow_runs/filter", {}),
        prefect_request("GET", f"/api/flow_runs/{run}", {}),
    ]

    assert [request.what if request else None for request in named] == ["Prefect POST flow_runs/ID/set_state", None, None]


def test_a_commit_is_named_by_what_it_writes() -> None:
    def message(kind: bytes, body: bytes) -> bytes:
        return kind + (len(body) + 4).to_bytes(4, "big") + body

    def bound(text: bytes) -> bytes:
        return message(b"P", b"\0" + text + b"\0\0\0") + message(b"B", b"\0\0\0\0\0\0\0\0")

    begin, commit = message(b"Q", b"BEGIN\0"), message(b"Q", b"COMMIT\0")
    stream = (
        (8).to_bytes(4, "big")
        + (196608).to_bytes(4, "big")
        + begin
        + bound(b"SELECT 1")
        + commit
        + begin
        + bound(b"-- A note.\nINSERT INTO slipway_locks VALUES ($1)")
        + commit
        + bound(b"UPDATE slipway_locks SET x = $1")
    )
    for size in (1, len(stream)):
        reader = PostgresReader()
        pieces = [piece for begin_at in range(0, len(stream), size) for piece in reader.split(stream[begin_at : begin_at + size])]

        assert b"".join(data for data, _ in pieces) == stream
        writes = [request.what for _, request in pieces if request is not None and request.writes]
        assert writes == ["COMMIT insert", "registry update"]
