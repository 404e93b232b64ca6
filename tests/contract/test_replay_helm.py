"""Every scene recorded with the real helm against a real cluster, played again with the real helm against the stand-in."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.chart import write_chart
from tests.contract.recorded_cluster import recorded_cluster
from tests.support.outside import Outside
from tests.support.waiting import HANGS_SECONDS

RECORDING = Path(__file__).resolve().parents[3] / "shared" / "kubernetes" / "helm-commands.log"
NAMESPACE = "development"
RELEASE = "llama-7b-development"
# Helm only waits for its time-out to pass in these commands; a shorter one fails in the same way.
SHORTER = {"5s": "3s", "6s": "3s"}


@dataclass(frozen=True, kw_only=True)
class Command:
    """A recorded command with what it printed; long output was cut off when it was recorded."""

    scene: str
    line: str
    output: str
    exit_code: int


def read_recording() -> list[Command]:
    if not RECORDING.exists():
        return []
    commands, scene = [], ""
    for block in re.split(r"(?m)^(?=## |\$ )", RECORDING.read_text()):
        if block.startswith("## "):
            scene = block[3:].strip()
        elif block.startswith("$ "):
            line, _, rest = block[2:].partition("\n")
            output, _, code = rest.rpartition("exit ")
            commands.append(Command(scene=scene, line=line, output=output.strip(), exit_code=int(code)))
    return commands


COMMANDS = read_recording()


class Stage:
    """The cluster that the scenes play on, with helm and kubectl."""

    def __init__(self, kubeconfig: Path, folder: Path, executables: dict[str, str]) -> None:
        self._folder = folder
        self._executables = executables
        home = folder / "home"
        home.mkdir()
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(kubeconfig)}
        write_chart(folder)

    def start(self, line: str) -> subprocess.Popen[str]:
        words = shlex.split(line)
        words = [self._executables.get(words[0], words[0]), *(SHORTER.get(word, word) for word in words[1:])]
        return subprocess.Popen(words, cwd=self._folder, env=self._environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(self, line: str) -> tuple[str, int]:
        with self.start(line) as process:
            output, _ = process.communicate(timeout=HANGS_SECONDS)
            return output.strip(), process.returncode

    def kill_an_upgrade(self) -> None:
        """Kill helm when it has written the release as pending and waits for pods that cannot start."""
        with self.start(f"helm upgrade {RELEASE} chart -n {NAMESPACE} --set image=vllm/bad:1 --wait --timeout 60s") as process:
            deadline = time.monotonic() + HANGS_SECONDS
            while not any(dict(found["metadata"]["labels"]).get("status") == "pending-upgrade" for found in self._secrets()):
                assert time.monotonic() < deadline, "helm did not begin its upgrade"
                threading.Event().wait(0.05)
            process.kill()

    def _secrets(self) -> list[dict[str, dict[str, dict[str, str]]]]:
        output, code = self.run(f"kubectl get secrets -n {NAMESPACE} -l owner=helm -o json")
        return json.loads(output)["items"] if code == 0 else []

    def limit_gpus(self) -> None:
        self.run(f"kubectl create quota gpus -n {NAMESPACE} --hard=requests.nvidia.com/gpu=1")

    def lift_limit(self) -> None:
        self.run(f"kubectl delete quota gpus -n {NAMESPACE}")

    def scale_by_hand(self) -> None:
        self.run(f"kubectl scale deployment {RELEASE} -n {NAMESPACE} --replicas=2")


# What was done between the recorded commands, by the scene that it came before.
BEFORE: dict[str, Callable[[Stage], None]] = {
    "05 upgrade killed half way leaves a lock": Stage.kill_an_upgrade,
    "06 quota refuses the pod": Stage.limit_gpus,
    "07 no node has the GPUs": Stage.lift_limit,
    "08 field ownership conflict": Stage.scale_by_hand,
}


def executable(name: str) -> str | None:
    found = os.environ.get(f"SLIPWAY_{name.upper()}") or shutil.which(name)
    if found is None:
        helm = pytest.importorskip("sandbox.helm")
        found = str(helm.helm_executable() if name == "helm" else helm.kubectl_executable())
    return found


@pytest.fixture(scope="module")
def played(outside: Outside | None, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    executables = {name: executable(name) or name for name in ("helm", "kubectl")}
    folder = tmp_path_factory.mktemp("helm")
    capacity = {"cpu": "16", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": "4"}
    with recorded_cluster(folder / "api", outside, NAMESPACE, capacity) as cluster:
        return play(Stage(cluster.kubeconfig, folder, executables))


def play(stage: Stage) -> list[tuple[str, int]]:
    results, scene = [], ""
    for command in COMMANDS:
        if command.scene != scene:
            scene = command.scene
            BEFORE.get(scene, lambda stage: None)(stage)
        results.append(stage.run(command.line))
    return results


def gist(text: str) -> str:
    """The text without times, and without the random parts of names."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>", text)
    text = re.sub(r"LAST DEPLOYED: .*", "LAST DEPLOYED: <time>", text)
    text = re.sub(r"(second|big)-development-[a-z0-9]+(-[a-z0-9]{5})?", r"\1-development-<random>", text)
    # Its own lines of log come in no fixed order and are no answer.
    return "\n".join(line for line in text.splitlines() if not line.startswith("level=WARN"))


# One test for all: each worker of a parallel run would play the whole story again for its share of many small ones.
@pytest.mark.skipif(not COMMANDS, reason="the recordings are not on this machine (../shared/kubernetes)")
def test_every_command_ends_as_recorded(played: list[tuple[str, int]]) -> None:
    # Given the commands that were run against a real cluster, and the same ones run against the stand-in
    # When their exit codes and what they said are compared, of long output as much as was recorded
    different = {}
    for number, (command, (output, code)) in enumerate(zip(COMMANDS, played, strict=True)):
        recorded, said = gist(command.output), gist(output)
        if code != command.exit_code or said[: len(recorded)] != recorded:
            different[f"{number} {command.scene}: {command.line}"] = {"recorded": (command.exit_code, recorded), "here": (code, said)}
    # Then none ended differently
    assert different == {}
