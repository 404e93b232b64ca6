"""Jobs, seen through the API."""

from __future__ import annotations

from typing import Any

from sandbox.kubernetes.meta.client import JOBS, PODS
from sandbox.kubernetes.meta.values import parse_time
from tests.sandbox.bench import Bench, conditions, pod_spec, wait_for

Object = dict[str, Any]


def job(bench: Bench, name: str, *arguments: str, restart_policy: str = "Never", **spec: Any) -> Object:
    return bench.create(JOBS, name, spec={"template": {"spec": pod_spec(*arguments, restartPolicy=restart_policy)}, **spec})


def finished(item: Object) -> bool:
    return bool({"Complete", "Failed"} & set(conditions(item)))


def test_a_job_completes(bench: Bench) -> None:
    job(bench, "fetch", "echo done")

    ended = bench.wait(JOBS, "fetch", finished)

    status = ended["status"]
    assert [entry["type"] for entry in status["conditions"]] == ["SuccessCriteriaMet", "Complete"]
    assert conditions(ended)["Complete"]["reason"] == "CompletionsReached"
    assert conditions(ended)["Complete"]["message"] == "Reached expected number of succeeded pods"
    assert {key: status.get(key) for key in ("succeeded", "failed", "active", "ready", "terminating")} == {
        "succeeded": 1,
        "failed": None,
        "active": None,
        "ready": 0,
        "terminating": 0,
    }
    assert parse_time(status["startTime"]) <= parse_time(status["completionTime"])
    (pod,) = bench.list(PODS, "job-name=fetch")
    wait_for(lambda: bench.events("fetch", "Completed"))
    assert bench.events("fetch", "SuccessfulCreate") == [f"Created pod: {pod['metadata']['name']}"]
    assert bench.events("fetch", "Completed") == ["Job completed"]


def test_a_failing_job_gives_up_at_its_backoff_limit(bench: Bench) -> None:
    job(bench, "fetch", "exit 3", backoffLimit=1)

    ended = bench.wait(JOBS, "fetch", finished)

    assert [entry["type"] for entry in ended["status"]["conditions"]] == ["FailureTarget", "Failed"]
    failed = conditions(ended)["Failed"]
    assert (failed["reason"], failed["message"]) == ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    assert ended["status"]["failed"] == 2
    assert "completionTime" not in ended["status"]
    assert len(bench.list(PODS, "job-name=fetch")) == 2


def test_restarts_in_place_count_towards_the_limit(bench: Bench) -> None:
    job(bench, "fetch", "exit 3", restart_policy="OnFailure", backoffLimit=2)

    ended = bench.wait(JOBS, "fetch", finished)

    assert conditions(ended)["Failed"]["reason"] == "BackoffLimitExceeded"
    wait_for(lambda: not bench.list(PODS, "job-name=fetch"))


def test_a_job_that_takes_too_long_fails_and_its_pods_end(bench: Bench) -> None:
    job(bench, "fetch", "sleep 100", activeDeadlineSeconds=1)

    ended = bench.wait(JOBS, "fetch", finished)

    failed = conditions(ended)["Failed"]
    assert (failed["reason"], failed["message"]) == ("DeadlineExceeded", "Job was active longer than specified deadline")
    assert ended["status"].get("active") is None
    wait_for(lambda: not bench.list(PODS, "job-name=fetch"))


def test_completions_run_with_the_given_parallelism(bench: Bench) -> None:
    job(bench, "fetch", "sleep 0.1", completions=4, parallelism=2)

    most = 0
    while not finished(item := bench.get(JOBS, "fetch")):
        most = max(most, (item.get("status") or {}).get("active", 0))

    assert most == 2
    assert item["status"]["succeeded"] == 4
    assert len(bench.list(PODS, "job-name=fetch")) == 4


def test_a_finished_job_goes_after_its_time_to_live_with_its_pods(bench: Bench) -> None:
    job(bench, "fetch", "true", ttlSecondsAfterFinished=2)

    bench.wait(JOBS, "fetch", finished)

    bench.wait_gone(JOBS, "fetch")
    wait_for(lambda: not bench.list(PODS, "job-name=fetch"))


def test_a_suspended_job_gives_up_its_pods_and_resumes(bench: Bench) -> None:
    job(bench, "fetch", "sleep 0.5", backoffLimit=0)
    bench.wait(JOBS, "fetch", lambda item: (item.get("status") or {}).get("active") == 1)

    bench.patch(JOBS, "fetch", {"spec": {"suspend": True}})
    suspended = bench.wait(JOBS, "fetch", lambda item: "Suspended" in conditions(item) and not item["status"].get("active"))
    assert conditions(suspended)["Suspended"]["reason"] == "JobSuspended"
    assert "startTime" not in suspended["status"]
    wait_for(lambda: not bench.list(PODS, "job-name=fetch"))

    bench.patch(JOBS, "fetch", {"spec": {"suspend": False}})
    ended = bench.wait(JOBS, "fetch", finished)
    assert conditions(ended)["Suspended"]["reason"] == "JobResumed"
    assert ended["status"]["succeeded"] == 1
    assert "failed" not in ended["status"]


def test_a_pod_deleted_by_hand_counts_as_failed_and_is_replaced(bench: Bench) -> None:
    job(bench, "fetch", "sleep 100", backoffLimit=1)
    (pod,) = wait_for(lambda: bench.list(PODS, "job-name=fetch"))
    bench.wait_container(pod["metadata"]["name"], lambda status: "running" in status["state"])

    bench.delete(PODS, pod["metadata"]["name"])

    bench.wait(JOBS, "fetch", lambda item: item["status"].get("failed") == 1 and item["status"].get("active") == 1)
    others = [item["metadata"]["uid"] for item in bench.list(PODS, "job-name=fetch") if "deletionTimestamp" not in item["metadata"]]
    assert len(others) == 1
    assert others != [pod["metadata"]["uid"]]
