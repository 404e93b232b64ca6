"""What the doctor finds in facts: each kind of inconsistency, and nothing where everything fits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from blocks.facts import JobState
from blocks.facts.registry import RegistryPath, RegistryServer
from flows.doctor.rules import symptoms
from flows.doctor.rules.facts import (
    CanaryFact,
    DriftFact,
    EntryFact,
    EnvironmentFacts,
    Facts,
    LockFact,
    PrefectFacts,
    ReleaseFact,
    RequestFact,
    ScrubFact,
    SuspendedFact,
    UnfinishedFact,
    WantedDeployment,
)
from flows.doctor.rules.registry import told
from flows.doctor.rules.symptom import ApplyAutomations, CleanUp, CloseRequest, DeleteJob, FreeLock, StartRun, Symptom, Unstick, WakeRun
from flows.recovery.orphans import CANCELLED, EndedRun
from tests.support.examples import BEGIN, pod

NEW, OLD = "a" * 64, "b" * 64
LIVE = EndedRun(state="Running", final=False, crashed=False, abandoned=False)
OVER = EndedRun(state="Cancelled", final=True, crashed=False, abandoned=False)
CRASHED = EndedRun(state="Crashed", final=True, crashed=True, abandoned=False)
GONE = EndedRun(state="", final=False, crashed=False, abandoned=False)

RELEASE = "tiny-llama-staging"
PODS = (pod(NEW[:40], labels={"slipway.dev/candidate": NEW[:40], "app.kubernetes.io/instance": RELEASE}),)
STAGING = EnvironmentFacts(
    namespace="llm-staging", releases=(ReleaseFact(name=RELEASE, status="deployed"),), deployments=(RELEASE,), pods=PODS
)
ENTRY = EntryFact(model="tiny-llama", environment="staging", hub_revision="c" * 40, status="ready", fingerprint=NEW, last_checked_at=BEGIN)
SWEEP = WantedDeployment(entrypoint="flows.sweep.sweep", description="Looks after runs.", work_pool="slipway", crons=("*/2 * * * *",))
PREFECT = PrefectFacts(
    wanted={"sweep": SWEEP},
    deployed={"sweep": SWEEP},
    pools={"slipway": False},
    workers={"slipway": 1},
    automations_wanted=frozenset({"slipway runs"}),
    automations=frozenset({"slipway runs", "another"}),
    blocks_wanted=frozenset({"slipway-hub/default"}),
    blocks=frozenset({"slipway-hub/default"}),
)
WELL = Facts(now=BEGIN + timedelta(minutes=1), entries=(ENTRY,), environments={"staging": STAGING}, prefect=PREFECT)

LOCK = LockFact(model="tiny-llama", environment="staging", run_id="r1", silent_seconds=61)
BEGUN = UnfinishedFact(event_id=7, run_id="r1", model="tiny-llama", environment="staging", fingerprint=NEW)
REQUEST = RequestFact(event_id=9, run_id="r1", model="tiny-llama", environment="staging")
DRIFT = DriftFact(
    model="tiny-llama",
    environment="staging",
    kind="live",
    message="The cluster is not what Git says.",
    application=RELEASE,
    argocd_namespace="argocd",
    hub_revision="c" * 40,
    git_commit="d" * 40,
)
JOB = JobState(name="prefetch-1", outcome=None, labels={"slipway.dev/run": "r1"})


def found(**changes: Any) -> list[Symptom]:
    return symptoms(replace(WELL, **changes))


def in_staging(**changes: Any) -> dict[str, EnvironmentFacts]:
    return {"staging": replace(STAGING, **changes)}


def prefect(**changes: Any) -> PrefectFacts:
    return replace(PREFECT, **changes)


def test_nothing_is_found_where_everything_fits() -> None:
    assert symptoms(WELL) == []
    # nor while a run is under way
    under_way = {"locks": (replace(LOCK, silent_seconds=4),), "orphaned_runs": (BEGUN,), "requests": (REQUEST,), "runs": {"r1": LIVE}}
    busy = in_staging(pods=(), jobs=(JOB,), releases=(ReleaseFact(name=RELEASE, status="pending-upgrade"),))
    assert found(**under_way, suspended=(SuspendedFact(run_id="r1", name="release"),), environments=busy) == []


@pytest.mark.parametrize(
    ("changes", "kind", "says", "remedy"),
    [
        (
            {"orphaned_runs": (BEGUN,), "runs": {"r1": OVER}, "locks": (LOCK,)},
            "unfinished",
            "run r1 began candidate aaaaaaaaaaaa of tiny-llama in staging and never ended it: its run was cancelled.",
            CleanUp(begun=7, why=CANCELLED),
        ),
        ({"orphaned_runs": (BEGUN,), "runs": {"r1": CRASHED}}, "crashed", "not taken it up again", StartRun(deployment="sweep/sweep")),
        (
            {"locks": (LOCK,), "runs": {"r1": GONE}},
            "dead-lock",
            "gave no sign of life for 61 s, and is gone from Prefect",
            FreeLock(model="tiny-llama", environment="staging", run_id="r1"),
        ),
        (
            {"requests": (REQUEST,), "runs": {"r1": OVER}},
            "dead-request",
            "run r1 ended as Cancelled",
            CloseRequest(request=9, why="the run ended as Cancelled"),
        ),
        ({"suspended": (SuspendedFact(run_id="r2", name="release tiny"),)}, "unasked", "release tiny", WakeRun(run_id="r2")),
        (
            {"environments": in_staging(jobs=(JOB,)), "runs": {"r1": OVER}},
            "orphan-job",
            "Job prefetch-1 in llm-staging runs on",
            DeleteJob(environment="staging", name="prefetch-1"),
        ),
        (
            {"entries": (replace(ENTRY, fingerprint=OLD),)},
            "wrong-pods",
            "pods tiny-llama-staging-1 carry another candidate",
            StartRun(deployment="revalidate/revalidate"),
        ),
        ({"environments": in_staging(pods=())}, "wrong-pods", "it has no pods", StartRun(deployment="revalidate/revalidate")),
        (
            {"environments": in_staging(releases=(ReleaseFact(name=RELEASE, status="pending-upgrade"),))},
            "stuck-release",
            "is pending-upgrade, and no run is at it",
            Unstick(model="tiny-llama", environment="staging", release=RELEASE, wanted=NEW),
        ),
        ({"entries": ()}, "unknown-release", "is of no model that the registry knows in staging", None),
        ({"environments": in_staging(releases=())}, "unknown-deployment", "Helm has no release of that name", None),
        ({"environments": in_staging(ready_nodes=0)}, "no-node", "no node that staging may use", None),
        ({"environments": in_staging(problem="The cluster cannot be reached.")}, "unseen", "The cluster cannot be reached.", None),
        (
            {"scrubs": (ScrubFact(environment="staging", node="gpu-1", at=BEGIN, corrupt=2, snapshots=("models/x",)),)},
            "damaged-weights",
            "found 2 damaged contents, in models/x",
            StartRun(deployment="revalidate/revalidate"),
        ),
        ({"entries": (replace(ENTRY, last_checked_at=None),)}, "unwatched", "the health of 1 of 1 ready entries", None),
        ({"migrations_missing": ("0009_unfinished",)}, "not-migrated", "0009_unfinished", None),
        ({"prefect": prefect(pools={})}, "no-work-pool", "no work pool 'slipway'", None),
        ({"prefect": prefect(pools={"slipway": True})}, "work-pool-paused", "no run starts", None),
        ({"prefect": prefect(workers={"slipway": 0})}, "no-worker", "no run starts", None),
        ({"prefect": prefect(deployed={})}, "not-deployed", "no deployment 'sweep'", None),
        (
            {"prefect": prefect(deployed={"sweep": replace(SWEEP, parameters=frozenset({"old"}), crons=())})},
            "stale-deployment",
            "crons, parameters differ",
            None,
        ),
        ({"prefect": prefect(deployed={"sweep": replace(SWEEP, active=False)})}, "schedule-paused", "'sweep' is paused", None),
        ({"prefect": prefect(automations=frozenset())}, "no-automation", "'slipway runs'", ApplyAutomations()),
        ({"prefect": prefect(blocks=frozenset())}, "no-block", "slipway-hub/default", None),
    ],
)
def test_each_inconsistency_is_found_alone(changes: dict[str, Any], kind: str, says: str, remedy: object) -> None:
    (symptom,) = found(**changes)

    assert symptom.kind == kind
    assert says in symptom.message
    assert symptom.remedy == remedy
    assert symptom.command


def test_the_monitor_may_rest() -> None:
    resting = replace(SWEEP, active=False)

    assert found(prefect=prefect(wanted={"monitor": SWEEP}, deployed={"monitor": resting})) == []


def test_what_is_found_grows_with_what_is_wrong_and_not_with_models() -> None:
    many = tuple(replace(ENTRY, model=f"m{number}", last_checked_at=None) for number in range(500))
    pods = tuple(
        pod(NEW[:40], labels={"slipway.dev/candidate": NEW[:40], "app.kubernetes.io/instance": f"m{number}-staging"})
        for number in range(500)
    )

    assert [symptom.kind for symptom in found(entries=many, environments=in_staging(pods=pods, releases=(), deployments=()))] == [
        "unwatched"
    ]


def test_what_others_set_beside_helm_is_shown_with_the_release_that_takes_it_back() -> None:
    seen = in_staging(set_by_others={RELEASE: "It does not run as Helm rendered it.", "another": "Nobody's."})

    (symptom,) = found(environments=seen)

    assert (symptom.kind, symptom.about, symptom.remedy) == ("drift-rendered", "tiny-llama in staging", None)
    assert symptom.message == "It does not run as Helm rendered it."
    assert symptom.command == f"slipway release tiny-llama --revision {'c' * 40} --environment staging"
    assert found(environments=seen, locks=(replace(LOCK, silent_seconds=4),), runs={"r1": LIVE}) == []


@pytest.mark.parametrize(
    ("kind", "says", "command"),
    [
        ("application", "The cluster is not what Git says.", f"kubectl edit application -n argocd {RELEASE}, and argocd/staging/"),
        ("git", "The cluster is not what Git says.", f"slipway release tiny-llama --revision {'c' * 40} --environment staging"),
        ("live", "The cluster is not what Git says.", f"kubectl patch application -n argocd {RELEASE} --type merge -p"),
        ("unseen", "drift of tiny-llama in staging could not be looked for: The cluster", "docs/troubleshooting.md"),
    ],
)
def test_drift_is_shown_with_what_mends_it_and_left_to_people(kind: str, says: str, command: str) -> None:
    drifts = (replace(DRIFT, kind=kind),)

    (symptom,) = found(drifts=drifts)

    assert (symptom.kind, symptom.about, symptom.remedy) == (f"drift-{kind}", "tiny-llama in staging", None)
    assert says in symptom.message
    assert command in symptom.command
    # while a run is at it, it is no drift
    assert found(drifts=drifts, locks=(replace(LOCK, silent_seconds=4),), runs={"r1": LIVE}) == []


PRIMARY = RegistryServer(address="db-a:5432", version="15.9", takes_writes=True)
STANDBY = RegistryServer(address="db-b:5432", version="15.9", standby=True, behind_seconds=3.2)
AWAY = RegistryServer(address="db-b:5432", problem="the registry at db-b:5432/models cannot be reached: connection refused")


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        (RegistryPath(servers=(PRIMARY, STANDBY)), set()),
        (RegistryPath(servers=(STANDBY,)), {"registry-read-only"}),
        (RegistryPath(servers=(replace(PRIMARY, takes_writes=False),)), {"registry-read-only"}),
        (RegistryPath(servers=(PRIMARY, AWAY)), {"registry-host"}),
        # Nothing can be looked at: the command ends with the reason.
        (RegistryPath(servers=(AWAY,)), set()),
        (RegistryPath(servers=(replace(PRIMARY, pooled=True),)), set()),
        (RegistryPath(servers=(PRIMARY,), direct=PRIMARY, heard=True), set()),
        (RegistryPath(servers=(PRIMARY,), direct=replace(PRIMARY, pooled=True)), {"no-notices"}),
        (RegistryPath(servers=(PRIMARY,), direct=AWAY), {"no-notices"}),
        # Once: of all hosts the schema is the same.
        (RegistryPath(servers=(replace(PRIMARY, open_schema="public"), replace(STANDBY, open_schema="public"))), {"registry-open"}),
    ],
)
def test_the_way_to_the_registry(path: RegistryPath, kinds: set[str]) -> None:
    assert sorted(symptom.kind for symptom in symptoms(replace(WELL, registry=path))) == sorted(kinds)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (RegistryPath(servers=(PRIMARY,)), "a primary that takes writes, without waiting for a standby"),
        (RegistryPath(servers=(replace(PRIMARY, synchronous=True),)), "takes writes, each when a standby has it"),
        (RegistryPath(servers=(replace(PRIMARY, pooled=True),)), "without a direct address they ask every minute"),
        (RegistryPath(servers=(replace(PRIMARY, pooled=True),), direct=PRIMARY, heard=True), "heard at the direct address"),
        (RegistryPath(servers=(PRIMARY, STANDBY)), "db-b:5432 is a standby, whose last transaction is 3 s old"),
        (RegistryPath(servers=(PRIMARY, AWAY)), "connection refused"),
    ],
)
def test_what_lies_between_is_told(path: RegistryPath, said: str) -> None:
    assert said in told(path)


CANARY = CanaryFact(run_id="r1", model="tiny-llama", environment="staging", phase="running", weight=5, until=BEGIN)


def of_canaries(*canaries: CanaryFact, **facts: Any) -> list[Symptom]:
    return symptoms(replace(WELL, canaries=canaries, **{"runs": {"r1": LIVE}, **facts}))


def test_a_canary_that_is_judged_is_well() -> None:
    judged = replace(CANARY, current_requests=900, canary_requests=40)
    # Few requests, or ones that nobody has counted, say nothing of a router.
    few = replace(CANARY, current_requests=700, canary_requests=0)
    for canary in (CANARY, judged, few, replace(few, weight=0, current_requests=10**6), replace(CANARY, phase="warm", until=WELL.now)):
        assert of_canaries(canary) == []


@pytest.mark.parametrize(("run", "began"), [(OVER, True), (GONE, True), (CRASHED, False), (OVER, False)])
def test_a_canary_whose_run_is_over(run: EndedRun, began: bool) -> None:
    seen = of_canaries(CANARY, runs={"r1": run}, orphaned_runs=(BEGUN,) if began else ())
    (dead,) = [symptom for symptom in seen if symptom.kind == "canary-run-dead"]
    assert "it gets 5 % of the requests, but run r1" in dead.message
    assert isinstance(dead.remedy, CleanUp if began else StartRun)


def test_a_router_that_does_not_know_weights() -> None:
    (symptom,) = of_canaries(replace(CANARY, current_requests=800, canary_requests=0))
    assert (symptom.kind, symptom.remedy) == ("canary-unasked", None)
    assert "should get 5 % of the requests and got none, while the candidate that serves answered 800" in symptom.message


def test_what_is_kept_warm_after_its_time() -> None:
    (symptom,) = of_canaries(replace(CANARY, phase="warm", until=WELL.now - timedelta(minutes=11)), runs={"r1": OVER})
    assert (symptom.kind, symptom.remedy) == ("canary-warm", StartRun(deployment="sweep/sweep"))
