"""The node agent as a program: over HTTP against an API server, its end, and its start after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.kubernetes.meta.client import NODES, PODS
from sandbox.kubernetes.node import NodeSpec
from tests.sandbox.bench import Bench, conditions, wait_for
from tests.support.waiting import HANGS_SECONDS

Starter = Callable[..., Bench]


@contextmanager
def agent(bench: Bench, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A node agent in a process of its own, joined to the bench's cluster as `alone`."""
    images = folder / "images.json"
    images.write_text(json.dumps({"sh": {"command": ["sh", "-c"], "env": {"FROM_IMAGE": "1"}}}))
    arguments = [
        "--kubeconfig",
        str(bench.cluster.kubeconfig),
        "--name",
        "alone",
        "--images",
        str(images),
        "--folder",
        str(folder / "node"),
    ]
    arguments += ["--label", "zone=a", "--taint", "only=tests:NoSchedule", "--gpus", "2"]
    with subprocess.Popen([sys.executable, "-m", "sandbox.kubernetes.node", *arguments]) as process:
        try:
            yield process
        finally:
            process.kill()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def log_of(bench: Bench, name: str) -> str:
    return bench.logs(name) if bench.container(name).get("started") else ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_containers_end_with_their_agent_however_it_ends(own_bench: Starter, tmp_path: Path, number: signal.Signals) -> None:
    bench = own_bench([])
    with agent(bench, tmp_path) as process:
        wait_for(lambda: (node := bench.find(NODES, "alone")) and conditions(node).get("Ready", {}).get("status") == "True")
        node = bench.get(NODES, "alone")
        assert node["metadata"]["labels"]["zone"] == "a"
        assert node["spec"]["taints"] == [{"key": "only", "value": "tests", "effect": "NoSchedule"}]
        assert node["status"]["capacity"]["nvidia.com/gpu"] == "2"
        bench.pod("web", "echo $$$$ $FROM_IMAGE; sleep 100")
        pid, from_image = wait_for(lambda: log_of(bench, "web").split())
        assert from_image == "1"

        process.send_signal(number)
        process.wait(timeout=HANGS_SECONDS)

        wait_for(lambda: not alive(int(pid)))


def test_a_node_that_comes_back_restarts_pods_by_their_policy(own_bench: Starter) -> None:
    bench = own_bench([NodeSpec(name="gpu-1")])
    bench.pod("always", "echo $$$$; sleep 100")
    bench.pod("never", "sleep 100", restartPolicy="Never")
    pid = int(wait_for(lambda: log_of(bench, "always")))
    bench.wait_container("never", lambda status: "running" in status["state"])
    address = bench.get(PODS, "always")["status"]["podIP"]

    bench.cluster.node("gpu-1").stop()
    assert not alive(pid)
    assert bench.get(PODS, "always")["status"]["phase"] == "Running"
    bench.cluster.node("gpu-1").start()

    status = bench.wait_container("always", lambda entry: "running" in entry["state"] and entry["restartCount"] == 1)
    assert status["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    failed = bench.wait(PODS, "never", lambda pod: pod["status"]["phase"] == "Failed")
    assert failed["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    assert wait_for(lambda: log_of(bench, "always"))
    assert bench.get(PODS, "always")["status"]["podIP"] != address


def test_a_pod_that_was_deleted_while_its_node_was_away_goes_when_it_is_back(own_bench: Starter) -> None:
    bench = own_bench([NodeSpec(name="gpu-1")])
    bench.pod("web", "sleep 100")
    bench.wait_container("web", lambda status: "running" in status["state"])
    bench.cluster.node("gpu-1").stop()

    bench.delete(PODS, "web")
    assert "deletionTimestamp" in bench.get(PODS, "web")["metadata"]
    bench.cluster.node("gpu-1").start()

    bench.wait_gone(PODS, "web")


def test_closing_a_cluster_leaves_no_process(own_bench: Starter) -> None:
    bench = own_bench([NodeSpec(name="gpu-1")])
    bench.pod("web", "sleep 100 & echo $$$$ $!; wait")
    pids = [int(text) for text in wait_for(lambda: log_of(bench, "web").split())]

    bench.cluster.close()

    wait_for(lambda: not any(alive(pid) for pid in pids))
