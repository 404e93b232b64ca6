"""Containers on a node: images, restarts, ends, logs; seen through the API."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from sandbox.kubernetes.meta.client import PODS, SECRETS
from sandbox.kubernetes.node import AgentOptions, Image, NodeSpec
from tests.sandbox.bench import IMAGES, Bench, conditions, wait_for

Object = dict[str, Any]
Starter = Callable[..., Bench]


def running(status: Object) -> bool:
    return "running" in status["state"]


def waits_for(reason: str) -> Callable[[Object], bool]:
    return lambda status: bool(status["state"].get("waiting", {}).get("reason") == reason)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_pod_runs_with_an_address_of_its_own(bench: Bench) -> None:
    bench.pod("web", image="web", container={"readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1}})
    bench.pod("other", image="web", container={"readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1}})

    pods = [bench.wait(PODS, name, lambda pod: conditions(pod).get("Ready", {}).get("status") == "True") for name in ("web", "other")]

    assert len({pod["status"]["podIP"] for pod in pods}) == 2
    status = pods[0]["status"]
    assert status["phase"] == "Running"
    assert {kind: entry["status"] for kind, entry in conditions(pods[0]).items()} == dict.fromkeys(
        ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"), "True"
    )
    (container,) = status["containerStatuses"]
    assert (container["ready"], container["started"], container["restartCount"], container["lastState"]) == (True, True, 0, {})
    assert re.fullmatch(r"docker\.io/library/web@sha256:[0-9a-f]{64}", container["imageID"])
    assert container["containerID"].startswith("containerd://")
    assert status["podIPs"] == [{"ip": status["podIP"]}]


def test_the_digest_of_an_image_is_its_identity(bench: Bench) -> None:
    digest = f"sha256:{'ab' * 32}"
    bench.pod("one", "true", restartPolicy="Never", image=f"sh:v1@{digest}")

    status = bench.wait_container("one", lambda entry: "terminated" in entry["state"])

    assert status["imageID"] == f"docker.io/library/sh@{digest}"


def test_a_container_that_ends_well_or_badly_decides_the_phase(bench: Bench) -> None:
    bench.pod("good", "true", restartPolicy="Never")
    bench.pod("bad", "exit 7", restartPolicy="Never")

    good = bench.wait(PODS, "good", lambda pod: pod["status"]["phase"] == "Succeeded")
    bad = bench.wait(PODS, "bad", lambda pod: pod["status"]["phase"] == "Failed")

    assert good["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
    assert conditions(good)["Ready"]["reason"] == "PodCompleted"
    ended = bad["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (7, "Error")


def test_a_crashing_container_backs_off(bench: Bench) -> None:
    bench.pod("crash", "exit 3")

    status = bench.wait_container("crash", waits_for("CrashLoopBackOff"))

    pod = bench.get(PODS, "crash")
    who = f"crash_{bench.namespace}({pod['metadata']['uid']})"
    assert status["state"]["waiting"]["message"] == f"back-off 200ms restarting failed container=c pod={who}"
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert status["restartCount"] == 1
    assert pod["status"]["phase"] == "Running"
    bench.wait_container("crash", lambda entry: entry["restartCount"] == 3)
    assert bench.events("crash", "BackOff") == [f"Back-off restarting failed container c in pod {who}"]


def test_an_image_that_nobody_has_is_waited_for(own_bench: Starter) -> None:
    images = dict(IMAGES)
    bench = own_bench([NodeSpec(name="gpu-1")], images=images, options=AgentOptions(restart_backoff_seconds=1.0))
    bench.pod("web", "sleep 100", image="vllm/none:v1")
    unknown = (
        "rpc error: code = NotFound desc = "
        'failed to pull and unpack image "docker.io/vllm/none:v1": failed to resolve reference "docker.io/vllm/none:v1": '
        "docker.io/vllm/none:v1: not found"
    )

    first = bench.wait_container("web", waits_for("ErrImagePull"))
    then = bench.wait_container("web", waits_for("ImagePullBackOff"))

    assert first["state"]["waiting"]["message"] == unknown
    assert then["state"]["waiting"]["message"] == f'Back-off pulling image "vllm/none:v1": ErrImagePull: {unknown}'
    assert bench.get(PODS, "web")["status"]["phase"] == "Pending"
    wait_for(lambda: "Error: ImagePullBackOff" in bench.events("web", "Failed"))
    assert bench.events("web", "Failed") == [
        f'Failed to pull image "vllm/none:v1": {unknown}',
        "Error: ErrImagePull",
        "Error: ImagePullBackOff",
    ]

    images["vllm/none"] = Image(command=("sh", "-c"))
    bench.wait_container("web", running)


def test_a_program_that_is_not_there_is_a_start_error(bench: Bench) -> None:
    bench.pod("lost", container={"command": ["no-such-program"]}, restartPolicy="Never")

    ended = bench.wait_container("lost", lambda entry: "terminated" in entry["state"])["state"]["terminated"]

    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert ended["message"].endswith('exec: "no-such-program": executable file not found in $PATH: unknown')


def test_a_missing_secret_is_a_config_error_until_it_comes(bench: Bench) -> None:
    reference = {"secretKeyRef": {"name": "token", "key": "value"}}
    bench.pod("web", "echo got $TOKEN; sleep 100", container={"env": [{"name": "TOKEN", "valueFrom": reference}]})

    status = bench.wait_container("web", waits_for("CreateContainerConfigError"))
    assert status["state"]["waiting"]["message"] == 'secret "token" not found'

    bench.create(SECRETS, "token", stringData={"other": "x"})
    key_missing = f"couldn't find key value in Secret {bench.namespace}/token"
    bench.wait_container("web", lambda entry: entry["state"].get("waiting", {}).get("message") == key_missing)
    bench.patch(SECRETS, "token", {"stringData": {"value": "geheim"}})
    bench.wait_container("web", running)
    wait_for(lambda: bench.logs("web") == "got geheim\n")


def test_init_containers_run_in_order_before_the_others(bench: Bench) -> None:
    def step(name: str, command: str) -> Object:
        return {"name": name, "image": "sh", "args": [command], "volumeMounts": [{"name": "work", "mountPath": "/scratch"}]}

    steps = [step("one", "echo 1 >> /scratch/log"), step("two", "echo 2 >> /scratch/log")]
    bench.pod(
        "web",
        "cat /scratch/log; sleep 100",
        initContainers=steps,
        volumes=[{"name": "work", "emptyDir": {}}],
        container={"volumeMounts": [{"name": "work", "mountPath": "/scratch"}]},
    )

    bench.wait_container("web", running)

    wait_for(lambda: bench.logs("web") == "1\n2\n")
    init = bench.get(PODS, "web")["status"]["initContainerStatuses"]
    assert [entry["state"]["terminated"]["reason"] for entry in init] == ["Completed", "Completed"]


def test_a_failing_init_container_holds_the_pod_back(bench: Bench) -> None:
    failing = {"name": "first", "image": "sh", "args": ["exit 1"]}
    bench.pod("never", "sleep 100", initContainers=[failing], restartPolicy="Never")
    bench.pod("again", "sleep 100", initContainers=[failing])

    never = bench.wait(PODS, "never", lambda pod: pod["status"]["phase"] == "Failed")
    again = bench.wait(PODS, "again", lambda pod: (pod["status"].get("initContainerStatuses") or [{}])[0].get("restartCount", 0) > 1)

    assert never["status"]["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert again["status"]["phase"] == "Pending"
    assert conditions(again)["Initialized"]["message"] == "containers with incomplete status: [first]"


def test_a_container_over_its_memory_limit_is_killed(bench: Bench) -> None:
    # the memory is that of a child: all that runs in a container counts
    greedy = "import os, time; block = None if os.fork() else bytearray(120 * 2**20); time.sleep(100)"
    bench.pod("greedy", greedy, image="python", container={"resources": {"limits": {"memory": "64Mi"}}}, restartPolicy="Never")

    ended = bench.wait_container("greedy", lambda entry: "terminated" in entry["state"])["state"]["terminated"]

    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_the_end_of_the_log_explains_an_error(bench: Bench) -> None:
    container = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    bench.pod("sad", "echo first; echo weights are missing; exit 1", container=container, restartPolicy="Never")

    ended = bench.wait_container("sad", lambda entry: "terminated" in entry["state"])["state"]["terminated"]

    assert ended["message"] == "first\nweights are missing\n"


def test_a_pod_past_its_deadline_fails(bench: Bench) -> None:
    bench.pod("slow", "sleep 100", activeDeadlineSeconds=1)

    pod = bench.wait(PODS, "slow", lambda item: item["status"].get("phase") == "Failed")

    assert pod["status"]["reason"] == "DeadlineExceeded"
    assert pod["status"]["message"] == "Pod was active on the node longer than the specified deadline"


def test_deletion_lets_a_container_end_by_itself(bench: Bench) -> None:
    folder = bench.cluster.node("node-1").disk / bench.namespace
    volumes = [{"name": "out", "hostPath": {"path": f"/{bench.namespace}", "type": "DirectoryOrCreate"}}]
    container = {
        "volumeMounts": [{"name": "out", "mountPath": "/out"}],
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /out/hook"]}}},
    }
    script = "trap 'test -e /out/hook && echo after hook > /out/end; exit 0' TERM; echo up > /out/up; while true; do sleep 0.05; done"
    bench.pod("web", script, container=container, volumes=volumes, terminationGracePeriodSeconds=10)
    wait_for((folder / "up").exists)

    bench.delete(PODS, "web")

    bench.wait_gone(PODS, "web")
    assert (folder / "end").read_text() == "after hook\n"
    assert wait_for(lambda: bench.events("web", "Killing")) == ["Stopping container c"]


def test_a_pre_stop_hook_delays_the_end_and_the_grace_ends_the_hook(bench: Bench) -> None:
    script = "trap 'exit 0' TERM; while true; do sleep 0.05; done"
    for name, seconds, grace in (("patient", 1, 10), ("hasty", 1000, 1)):
        bench.pod(name, script, container={"lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}}, terminationGracePeriodSeconds=grace)
        bench.wait_container(name, running)

    began = time.monotonic()
    for name in ("patient", "hasty"):
        bench.delete(PODS, name)
    bench.wait_gone(PODS, "patient")

    assert time.monotonic() - began >= 1
    bench.wait_gone(PODS, "hasty")
    assert time.monotonic() - began < 900, "its hook would take a thousand seconds"


def test_a_container_that_will_not_end_is_killed_after_its_grace(bench: Bench) -> None:
    bench.pod("deaf", "trap '' TERM; echo $$$$; while true; do sleep 0.05; done")
    pid = int(wait_for(lambda: bench.logs("deaf") if bench.container("deaf").get("started") else ""))

    bench.delete(PODS, "deaf")

    assert "deletionTimestamp" in bench.get(PODS, "deaf")["metadata"]
    bench.wait_gone(PODS, "deaf")
    assert not alive(pid)


def test_what_a_container_left_behind_ends_with_it(bench: Bench) -> None:
    bench.pod("parent", "sleep 100 & echo $!", restartPolicy="Never")

    bench.wait(PODS, "parent", lambda pod: pod["status"]["phase"] == "Succeeded")

    child = int(bench.logs("parent"))
    wait_for(lambda: not alive(child))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "1\n2\n3\n"),
        ({"tailLines": "2"}, "2\n3\n"),
        ({"limitBytes": "3"}, "1\n2"),
        ({"sinceSeconds": "60"}, "1\n2\n3\n"),
    ],
)
def test_parts_of_a_log(bench: Bench, query: dict[str, str], expected: str) -> None:
    bench.pod("talk", "echo 1; echo 2 >&2; printf 3", restartPolicy="Never")
    bench.wait(PODS, "talk", lambda pod: pod["status"]["phase"] == "Succeeded")

    assert bench.logs("talk", **query) == expected


def test_a_followed_log_ends_with_its_container_and_shows_times(bench: Bench) -> None:
    bench.pod("talk", "echo 1; sleep 0.3; echo 2", restartPolicy="Never")
    bench.wait_container("talk", running)

    text = bench.logs("talk", follow="true", timestamps="true")

    lines = [line.split(" ") for line in text.splitlines()]
    assert [line[1] for line in lines] == ["1", "2"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", line[0]) for line in lines)


def test_the_log_of_the_run_before(bench: Bench) -> None:
    bench.pod("twice", "test -e again && { echo second; sleep 100; }; touch again; echo first; exit 1")

    bench.wait_container("twice", lambda entry: running(entry) and entry["restartCount"] == 1)

    wait_for(lambda: bench.logs("twice") == "second\n")
    assert bench.logs("twice", previous="true") == "first\n"
