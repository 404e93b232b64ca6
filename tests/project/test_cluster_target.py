"""`make test-cluster` as somebody with a cluster runs it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from flows.spec.load import ROOT
from sandbox.helm import kubectl_executable
from tests.support.bare_cluster import bare_cluster
from tests.support.outside import ClusterUnusable, find_outside
from tests.support.waiting import HANGS_SECONDS


def run_on_cluster(**variables: str) -> tuple[int, str]:
    """The exit code of `make test-cluster`, and what it said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "KUBECONFIG"))}
    command = ["make", "--no-print-directory", "test-cluster", *(f"{name}={value}" for name, value in variables.items())]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS_SECONDS)
    return done.returncode, done.stdout + done.stderr


def test_the_contract_suite_runs_on_a_cluster_that_is_not_ours_and_leaves_nothing_there(tmp_path: Path) -> None:
    with bare_cluster(tmp_path) as kubeconfig:
        code, said = run_on_cluster(
            KUBECONFIG=str(kubeconfig),
            SANDBOX_SUBNET="127.15.7.0/24",
            ARGS="tests/contract/test_semantics_access.py tests/contract/test_semantics_proxy.py",
        )

        assert code == 0, said
        # what only the sandbox's own insides show is skipped, and says why
        assert "SKIPPED [1]" in said
        assert "the one under test is not ours" in said
        command = [str(kubectl_executable()), "get", "namespaces,nodes", "-o", "json"]
        left = subprocess.run(
            command, env={"KUBECONFIG": str(kubeconfig), "KUBECACHEDIR": str(tmp_path)}, capture_output=True, text=True, check=True
        ).stdout
        assert not [item for item in json.loads(left)["items"] if item["metadata"]["name"].startswith("slipway")]


def test_without_a_cluster_it_refuses_in_one_sentence() -> None:
    code, said = run_on_cluster(KUBECONFIG="", ARGS="tests/contract")

    assert code != 0
    (sentence,) = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    assert "KUBECONFIG is not set" in sentence
    assert sentence.endswith(".")
    assert "Traceback" not in said


def kubeconfig(folder: Path, user: dict[str, object]) -> str:
    """A kubeconfig of a server that nobody runs."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    path = folder / f"by-{next(iter(user))}"
    path.write_text(json.dumps(config))
    return str(path)


def test_a_cluster_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    program = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "x", "interactiveMode": "Never"}}
    for named, says in (
        (str(tmp_path / "none"), "No cluster answers by the kubeconfig .*none: "),
        (kubeconfig(tmp_path, {"token": "t"}), "No cluster answers by the kubeconfig .*by-token: .*127.0.0.1:9"),
        (kubeconfig(tmp_path, program), r"authenticates by a program \(exec\)"),
    ):
        with pytest.raises(ClusterUnusable, match=says) as refused:
            find_outside(named, tmp_path)
        assert str(refused.value).endswith(".")
        assert "\n" not in str(refused.value)


def test_a_network_that_is_not_ours_is_named(tmp_path: Path) -> None:
    refusals = {"pods": "is no IPv4 network", "192.0.2.0/24": "this machine does not answer for 192.0.2.254"}
    with bare_cluster(tmp_path / "elsewhere") as kubeconfig:
        for subnet, says in refusals.items():
            with pytest.raises(ClusterUnusable, match=says):
                find_outside(str(kubeconfig), tmp_path, brings_node=True, subnet=subnet)
