"""A real Prometheus that scrapes what there is to scrape: a stand-in engine, our exporter, and what a cluster's own exporters would say.

Its scrape configuration is the chart's: what the operator makes of a monitor's relabelings, applied to targets with the labels that
Kubernetes' service discovery gives.
"""

from __future__ import annotations

import http.server
import re
import subprocess
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml
from prometheus_client import start_http_server

from blocks.registry import Gate, RegistryClient
from flows.metrics.exporter import Exporter
from sandbox.postgres import Postgres
from tests.monitoring.conftest import CHART, only
from tests.sandbox.engines import Engine, free_port, running_engine
from tests.support.candidates import fingerprint, register
from tests.support.waiting import HANGS_SECONDS

Key = TypeVar("Key", bound=Hashable)

FINGERPRINT = fingerprint()

#: What a pod of the engines' chart looks like to Prometheus before relabeling.
POD = {
    "__meta_kubernetes_pod_label_slipway_dev_environment": "production",
    "__meta_kubernetes_pod_label_slipway_dev_candidate": FINGERPRINT[:40],
    "namespace": "llm-production",
    "pod": "tiny-0",
    "container": "vllm",
}

#: The names and labels that kube-state-metrics and NVIDIA's DCGM exporter document. There is neither here, nor a GPU.
CLUSTER = """
kube_node_status_allocatable{node="gpu-1",resource="nvidia_com_gpu",unit="integer"} 2
kube_node_spec_unschedulable{node="gpu-1"} 0
kube_pod_container_resource_requests{namespace="llm-production",pod="tiny-0",container="vllm",node="gpu-1",resource="nvidia_com_gpu"} 1
kube_pod_container_resource_requests{namespace="llm-production",pod="tiny-1",container="vllm",node="",resource="nvidia_com_gpu"} 1
kube_pod_status_phase{namespace="llm-production",pod="tiny-0",phase="Running"} 1
kube_pod_status_phase{namespace="llm-production",pod="tiny-1",phase="Pending"} 1
kube_pod_status_unschedulable{namespace="llm-production",pod="tiny-1"} 1
kube_pod_container_status_restarts_total{namespace="llm-production",pod="tiny-0",container="vllm"} 1
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-0",device="nvidia0",modelName="NVIDIA L4",Hostname="gpu-1"} 71
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-0",device="nvidia0",modelName="NVIDIA L4",Hostname="gpu-1"} 20700
DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-0",device="nvidia0",modelName="NVIDIA L4",Hostname="gpu-1"} 2300
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-0",device="nvidia0",modelName="NVIDIA L4",Hostname="gpu-1"} 61.5
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-0",device="nvidia0",modelName="NVIDIA L4",Hostname="gpu-1"} 54
DCGM_FI_DEV_XID_ERRORS{gpu="0",UUID="GPU-0",device="nvidia0",modelName="NVIDIA L4",Hostname="gpu-1"} 0
"""


@dataclass(kw_only=True)
class Watched:
    """The running Prometheus."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    _http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=HANGS_SECONDS, trust_env=False))

    def api(self, path: str, **parameters: str) -> Any:
        """The data that an address of Prometheus' API answers with."""
        assert self.process.poll() is None, self.log.read_text()
        response = self._http.get(f"{self.url}/api/v1/{path}", params=parameters)
        if response.status_code == 503:  # it is starting
            response.raise_for_status()
        answer = response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, query: str) -> list[tuple[dict[str, str], float]]:
        """What the query gives now, without what is no number."""
        found = [(sample["metric"], float(sample["value"][1])) for sample in self.api("query", query=query)["result"]]
        return [(labels, value) for labels, value in found if value == value]  # NaN is not itself

    def unanswered(self, queries: Mapping[Key, str]) -> dict[Key, str]:
        """What is left of the queries that give nothing, after some time."""
        left, deadline = dict(queries), time.monotonic() + HANGS_SECONDS
        while left and time.monotonic() < deadline:
            left = {key: query for key, query in left.items() if not self.values(query)}
            time.sleep(0.2)
        return left

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until the condition gives something, and return that."""
        deadline = time.monotonic() + HANGS_SECONDS
        while True:
            try:
                if found := condition():
                    return found
            except (httpx.TransportError, httpx.HTTPStatusError):  # it does not listen yet, or is not ready
                assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)


@contextmanager
def watched(program: Path, folder: Path) -> Iterator[Watched]:
    """Prometheus, with traffic on the engine and news in the registry until the end of the block."""
    with ExitStack() as stack:
        engine = stack.enter_context(running_engine(folder))
        postgres = stack.enter_context(Postgres(folder / "postgres", durable=False))
        registry = stack.enter_context(RegistryClient(postgres.dsn))
        registry.migrate()
        begin(registry)
        # Its look at the registry is to be as fresh as a scrape: its clock goes faster.
        server, _ = start_http_server(0, addr="127.0.0.1", registry=Exporter(registry, clock=lambda: 100 * time.monotonic()).metrics)
        stack.callback(server.shutdown)
        cluster = stack.enter_context(_serving(CLUSTER.encode()))
        targets = {"engines": engine.http.base_url.netloc.decode(), "exporter": f"127.0.0.1:{server.server_port}", "cluster": cluster}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(_configuration(targets)))
        prometheus = stack.enter_context(_running(program, folder))
        # Prometheus sees no increase in what was there when it began: news come after its first look.
        prometheus.until(lambda: prometheus.values("slipway_exporter_up == 1") and prometheus.values("vllm:num_requests_running"))
        ended = threading.Event()
        traffic = threading.Thread(target=_keep_asking, args=(engine, ended))
        traffic.start()
        stack.callback(traffic.join)
        stack.callback(ended.set)
        go_on(registry)
        yield prometheus


def begin(registry: RegistryClient) -> None:
    """A model serves in production, and a run is about to change it."""
    register(registry)
    place = {"model": "tiny", "environment": "production", "fingerprint": FINGERPRINT, "run_id": "run-1"}
    registry.lifecycle.begin(hub_revision="a" * 40, namespace="llm-production", endpoint="tiny.llm-production:8000", **place)
    evidence = registry.evidence.save("verification", {"outcome": "passed"})
    registry.lifecycle.mark_ready(helm_revision=1, evidence_sha256=evidence, **place)
    lock = registry.locks.take("tiny", "production", "run-2")
    tried = {"model": "tiny", "environment": "production", "run_id": "run-2", "fence": lock.fence}
    canary = register(registry, variant="canary")
    registry.canaries.begin(**tried, stable=FINGERPRINT, canary=canary, endpoint="tiny-b.llm-production:8000", steps=[{"weight": 100}])
    registry.canaries.change(**tried, phase="running", weight=5)
    registry.canaries.save_judge(**tried, state={"verdict": {"e_value": 1.5, "limit": 20}})
    gate = Gate(run_id="run-2", name="production", model="tiny", environment="production", fingerprint=FINGERPRINT)
    registry.approvals.mark(gate, "approval_requested", {})
    _news(registry, 1)


def go_on(registry: RegistryClient) -> None:
    """A release that took its time, a rollback, and a failure."""
    _news(registry, 2)
    registry.events.add("failed", model="tiny", environment="production", fingerprint=FINGERPRINT, detail={"reason": "too slow"})


def _news(registry: RegistryClient, number: int) -> None:
    phases = {"resolve": 1, "plan": 2, "prefetch": 40, "deploy": 3, "load": 60, "verify": 30, "record": 0.2}
    for kind, detail in (
        ("verified", {"outcome": "passed"}),
        ("timed", {"phases": phases, "total_seconds": 136.2, "prefetch_bytes": 10**9}),
        ("rolled_back", {"reason": "it is slow", "seconds": 70}),
    ):
        registry.events.add(kind, model="tiny", environment="production", fingerprint=FINGERPRINT, run_id=f"run-{number}", detail=detail)


def _configuration(targets: dict[str, str]) -> dict[str, Any]:
    engines = only("PodMonitor")["spec"]["podMetricsEndpoints"][0]
    exporter = only("ServiceMonitor")["spec"]["endpoints"][0]
    exporter_pod = {
        "namespace": "monitoring",
        "service": "watch-exporter",
        "pod": "watch-exporter-0",
        "container": "exporter",
        "endpoint": "metrics",
    }

    def job(name: str, labels: dict[str, str], relabelings: list[dict[str, Any]]) -> dict[str, Any]:
        configs = [{re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", key): value for key, value in one.items()} for one in relabelings]
        return {"job_name": name, "static_configs": [{"targets": [targets[name]], "labels": labels}], "relabel_configs": configs}

    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in sorted((CHART / "rules").glob("*.yaml"))],
        "scrape_configs": [
            job("engines", POD, engines["relabelings"]),
            job("exporter", exporter_pod, exporter["relabelings"]),
            {**job("cluster", {}, []), "honor_labels": True},
        ],
    }


@contextmanager
def _running(program: Path, folder: Path) -> Iterator[Watched]:
    port, log = free_port(), folder / "prometheus.log"
    options = (
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    with log.open("wb") as written:
        process = subprocess.Popen([program, *options], stdout=written, stderr=written, cwd=folder)
    try:
        yield Watched(url=f"http://127.0.0.1:{port}", process=process, log=log)
    finally:
        process.terminate()
        process.wait(20)


def _keep_asking(engine: Engine, ended: threading.Event) -> None:
    while not ended.wait(0.1):
        engine.complete(max_tokens=4)


@contextmanager
def _serving(text: bytes) -> Iterator[str]:
    """A scrape target that always says the same; its address."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
