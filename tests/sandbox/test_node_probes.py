"""Probes by the kubelet's rules, seen through the API."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.kubernetes.meta.client import PODS
from sandbox.kubernetes.node.probes import Answer, Target, repeat
from sandbox.kubernetes.node.process import Command, run_to_end
from tests.sandbox.bench import Bench, conditions, wait_for

Object = dict[str, Any]


def probe(path: str = "/", **rules: Any) -> Object:
    return {"httpGet": {"path": path, "port": 8000}, "periodSeconds": 1, **rules}


def home(bench: Bench, name: str) -> Path:
    uid = bench.get(PODS, name)["metadata"]["uid"]
    return bench.cluster.node("node-1").disk.parent / "pods" / uid / "homes" / "c"


def test_readiness_follows_the_answers_without_a_restart(bench: Bench) -> None:
    bench.pod("web", image="web", container={"readinessProbe": probe("/busy", failureThreshold=1)})
    bench.wait_container("web", lambda status: status["ready"])

    (home(bench, "web") / "busy").touch()

    bench.wait_container("web", lambda status: not status["ready"])
    pod = bench.get(PODS, "web")
    assert conditions(pod)["Ready"]["reason"] == "ContainersNotReady"
    assert conditions(pod)["Ready"]["message"] == "containers with unready status: [c]"
    told = wait_for(lambda: [text for text in bench.events("web", "Unhealthy") if "statuscode" in text])
    assert told == ["Readiness probe failed: HTTP probe failed with statuscode: 500"]
    (home(bench, "web") / "busy").unlink()
    status = bench.wait_container("web", lambda status: status["ready"])
    assert status["restartCount"] == 0


def test_a_startup_probe_holds_the_others_back(bench: Bench) -> None:
    late = "import time, os, pathlib; time.sleep(1.2); pathlib.Path(os.environ['HOME'], 'up').touch(); time.sleep(100)"
    check = {"exec": {"command": ["sh", "-c", "test -e $HOME/up"]}, "periodSeconds": 1}
    container = {
        "startupProbe": {**check, "failureThreshold": 10},
        "livenessProbe": {**check, "failureThreshold": 1},
        "readinessProbe": check,
    }
    bench.pod("late", late, image="python", container=container)

    bench.wait_container("late", lambda status: "running" in status["state"] and not status["started"] and not status["ready"])
    status = bench.wait_container("late", lambda status: status["started"] and status["ready"])

    assert status["restartCount"] == 0


def test_a_startup_probe_that_fails_too_often_restarts(bench: Bench) -> None:
    bench.pod("never", "sleep 100", container={"startupProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1, "failureThreshold": 2}})

    status = bench.wait_container("never", lambda status: status["restartCount"] == 1)

    assert status["lastState"]["terminated"]["exitCode"] in (137, 143)
    ip = bench.get(PODS, "never")["status"]["podIP"]
    assert wait_for(lambda: bench.events("never", "Killing")) == ["Container c failed startup probe, will be restarted"]
    refused = f"Startup probe failed: dial tcp {ip}:8000: connect: connection refused"
    assert bench.events("never", "Unhealthy") == [refused]


def test_a_liveness_probe_restarts_with_grace(bench: Bench) -> None:
    bench.pod("web", image="web", container={"livenessProbe": probe("/stuck", failureThreshold=1)})
    bench.wait_container("web", lambda status: "running" in status["state"])

    (home(bench, "web") / "stuck").touch()

    status = bench.wait_container("web", lambda status: status["restartCount"] >= 1)
    assert status["lastState"]["terminated"]["exitCode"] == 143
    assert "Container c failed liveness probe, will be restarted" in wait_for(lambda: bench.events("web", "Killing"))


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ({"httpGet": {"path": "/x", "port": 8000}}, 'Get "http://{ip}:8000/x": dial tcp {ip}:8000: connect: connection refused'),
        ({"exec": {"command": ["sh", "-c", "echo not yet; exit 1"]}}, "not yet\n"),
        ({"exec": {"command": ["sleep", "60"]}}, 'command "sleep 60" timed out'),
    ],
)
def test_the_words_of_a_failed_probe(bench: Bench, check: Object, message: str) -> None:
    bench.pod("web", "sleep 100", container={"readinessProbe": {**check, "timeoutSeconds": 1}})

    told = wait_for(lambda: bench.events("web", "Unhealthy"))

    ip = bench.get(PODS, "web")["status"]["podIP"]
    assert told == [f"Readiness probe failed: {message.format(ip=ip)}"]


def test_thresholds_and_the_initial_delay_count_as_in_a_kubelet(tmp_path: Path) -> None:
    # Given answers that change, and a probe that wants two good or three bad ones in a row
    answers = [True, False, True, True, False, False, True, False, False, False]
    script = tmp_path / "script"
    script.write_text('read -r next < "$1"; sed -i 1d "$1"; exit "$next"')
    (tmp_path / "answers").write_text("".join(f"{0 if good else 1}\n" for good in answers))
    command = ["sh", str(script), str(tmp_path / "answers")]
    rules = {"exec": {"command": command}, "periodSeconds": 0, "successThreshold": 2, "failureThreshold": 3, "initialDelaySeconds": 1}
    surroundings = Command(argv=(), env={"PATH": os.environ["PATH"]}, folder=tmp_path)
    verdicts: list[bool | None] = []

    async def decide(verdict: bool | None, answer: Answer) -> bool:
        verdicts.append(verdict)
        return len(verdicts) < len(answers)

    async def probe_all() -> float:
        async with httpx.AsyncClient() as http:
            target = Target(container={}, ip="127.0.0.1", command=surroundings, rewrite=str, http=http, execute=run_to_end)
            began = asyncio.get_running_loop().time()
            # When the container has run for most of the initial delay already
            await repeat(rules, target, age_seconds=0.9, decide=decide)
            return asyncio.get_running_loop().time() - began

    seconds = asyncio.run(probe_all())

    # Then a verdict comes exactly where there are enough answers of a kind in a row, and the first probe came after the rest of the delay
    assert verdicts == [None, None, None, True, None, None, None, None, None, False]
    assert seconds >= 0.1
