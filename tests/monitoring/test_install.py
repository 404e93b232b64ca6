"""`helm install` of the monitoring chart on the sandbox's API server: the exporter runs as it would, and is asked for its figures."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

import httpx

from blocks.registry import RegistryClient
from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.meta.client import PODS
from sandbox.kubernetes.node import Image, NodeSpec
from sandbox.postgres import Postgres
from sandbox.serving import LoopThread
from tests.monitoring.conftest import CHART, helm
from tests.sandbox.bench import QUICK, Bench
from tests.sandbox.engines import free_port
from tests.support.waiting import HANGS_SECONDS

#: Kinds of Prometheus' operator, as far as an API server must know them to keep them.
KINDS = {"PodMonitor": "podmonitors", "ServiceMonitor": "servicemonitors", "PrometheusRule": "prometheusrules"}
RESOURCES = "/apis/monitoring.coreos.com/v1/namespaces/monitoring"

#: The image of the chart's example: `slipway` is on its PATH, as it is here.
SLIPWAY = Image(command=("slipway",), env={"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"})


def definition(kind: str, plural: str) -> dict[str, object]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def test_it_is_installed_by_one_command_and_the_exporter_tells(tmp_path: Path) -> None:
    # given a registry, its connection string in a Secret, and an API server that knows the operator's kinds
    with (
        Postgres(tmp_path / "postgres", durable=False) as postgres,
        LoopThread() as loop,
        Cluster(
            tmp_path / "cluster",
            loop,
            nodes=[NodeSpec(name="node-1", taints=())],
            images={"registry.example/slipway": SLIPWAY},
            options=QUICK,
        ) as cluster,
    ):
        with RegistryClient(postgres.dsn) as registry:
            registry.migrate()
        bench, port = Bench(cluster, loop, "monitoring"), free_port()
        for kind, plural in KINDS.items():
            bench.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition(kind, plural))
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "slipway-registry"},
            "data": {"dsn": base64.b64encode(postgres.dsn.encode()).decode()},
        }
        bench.request("POST", "/api/v1/namespaces/monitoring/secrets", secret)

        # when it is installed
        options = (f"--kubeconfig={cluster.kubeconfig}", "--namespace=monitoring", f"--values={CHART / 'ci' / 'minimal.yaml'}")
        done = helm("upgrade", "--install", "watch", CHART, *options, f"--set=exporter.port={port}", "--wait", "--timeout=200s")
        assert done.returncode == 0, (
            done.stdout + done.stderr,
            [(pod["status"], bench.logs(pod["metadata"]["name"])) for pod in bench.list(PODS)],
        )

        # then everything is there, and the exporter serves what the registry knows
        (pod,) = [pod for pod in bench.list(PODS) if pod["metadata"]["labels"]["app.kubernetes.io/name"] == "slipway-exporter"]
        text = httpx.get(f"http://{pod['status']['podIP']}:{port}/metrics", timeout=HANGS_SECONDS, trust_env=False).text
        assert "slipway_exporter_up 1.0" in text
        counts = {plural: len(bench.request("GET", f"{RESOURCES}/{plural}")["items"]) for plural in KINDS.values()}
        assert counts == {"podmonitors": 1, "servicemonitors": 1, "prometheusrules": 3}
