"""What `slipway doctor` costs as models are added: its look at everything, beside what one would ask `helm` and `kubectl` for the same.

`make bench-doctor` prints the figures and writes them as JSON lines to `build/bench-doctor.json`. Every model serves in each of the three
environments: one is released by the pipeline, and its Helm release, its Deployment, its pod and its rows are multiplied under other names
(the pods of these wait for a node for ever; nothing else is left out). Doctor and peer take turns; figures are medians.
"""

from __future__ import annotations

import asyncio
import copy
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tests.bench.sited import bench_site, report
from tests.support.helm_records import read_record, write_record

if TYPE_CHECKING:
    import httpx

    from tests.flows.conftest import Site

SIZES = (1, 100, 400)
TURNS = 5
RESULTS = Path("build") / "bench-doctor.json"

# What the project promises of hundreds of models, against asking by hand.
TIMES_PEER = 2.0

_LABEL = "app.kubernetes.io/name=vllm-deployment"

Object = dict[str, Any]
Line = dict[str, object]


class Multiplied:
    """A site whose one model is many, in each environment.

    Args:
        site: The site; its model serves in all three environments.
        api: A client of the API server.
    """

    def __init__(self, site: Site, api: httpx.Client) -> None:
        self._site, self._api = site, api
        self._count = 1
        self._kinds = {namespace: self._objects(namespace) for namespace in site.namespaces}

    def _objects(self, namespace: str) -> dict[str, Object]:
        def one(path: str, selector: str) -> Object:
            answer = self._api.get(path, params={"labelSelector": selector})
            (found,) = answer.raise_for_status().json()["items"]
            return dict(found)

        return {
            f"/api/v1/namespaces/{namespace}/secrets": one(f"/api/v1/namespaces/{namespace}/secrets", "owner=helm"),
            f"/apis/apps/v1/namespaces/{namespace}/deployments": one(f"/apis/apps/v1/namespaces/{namespace}/deployments", _LABEL),
            f"/api/v1/namespaces/{namespace}/pods": one(f"/api/v1/namespaces/{namespace}/pods", _LABEL),
        }

    def grow(self, count: int) -> None:
        """Have so many models in each environment."""
        for number in range(self._count, count):
            for objects in self._kinds.values():
                for path, made in objects.items():
                    body = _another(made, self._site.model, f"{self._site.model}-{number}")
                    self._api.post(path, json=body).raise_for_status()
        with psycopg.connect(self._site.database) as connection:
            connection.execute(_ROWS, {"first": self._count, "last": count - 1})
        self._count = count


#: As many rows as a release leaves, for each model; without their events' chain, which is no part of the doctor's look.
_ROWS = """
INSERT INTO model_registry_entries (
    model_name, hub_revision, deployment_environment, deployment_namespace, deployment_endpoint, deployment_status, candidate_fingerprint,
    helm_revision, verified_at, last_health_check_at
)
SELECT
    model_name || '-' || number, hub_revision, deployment_environment, deployment_namespace, deployment_endpoint, deployment_status,
    candidate_fingerprint, helm_revision, verified_at, last_health_check_at
FROM (SELECT * FROM model_registry_entries LIMIT 3) AS released, generate_series(%(first)s::int, %(last)s::int) AS number
"""


def _another(made: Object, model: str, name: str) -> Object:
    """The object of another model, as if it had been released, too."""
    body = copy.deepcopy(made)
    release = (body.get("data") or {}).pop("release", None)
    body = json.loads(json.dumps(body).replace(model, name))
    for key in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "ownerReferences", "generateName"):
        body["metadata"].pop(key, None)
    body.pop("status", None)
    if release is not None:
        record = json.loads(json.dumps(read_record(release)).replace(model, name))
        body["data"]["release"] = write_record(record)
    elif "containers" in body["spec"]:
        body["spec"] |= {
            "nodeName": None,
            "nodeSelector": {"nowhere": "true"},
            "serviceAccountName": "default",
            "serviceAccount": "default",
        }
    else:
        body["spec"]["replicas"] = 0
    return body


def measure(site: Site, api: httpx.Client) -> Iterator[Line]:
    """The doctor and its peer at each size."""
    from flows.doctor.gather import gather
    from flows.spec import Deployments
    from sandbox.helm import helm_executable, kubectl_executable

    helm = str(helm_executable())
    kubectl = str(kubectl_executable())
    deployments = Deployments.default()

    def doctor() -> int:
        return sum(len(each.releases) for each in asyncio.run(gather(deployments)).environments.values())

    def by_hand() -> int:
        found = 0
        for namespace in site.namespaces:
            where = ["--kubeconfig", str(site.world.cluster.kubeconfig), "--namespace", namespace]
            found += len(json.loads(subprocess.check_output([helm, "list", "--max", "0", "--output", "json", *where])))
            subprocess.run([kubectl, "get", "deployments,pods,jobs", "--output", "json", *where], check=True, capture_output=True)
        return found

    many = Multiplied(site, api)
    medians: dict[int, float] = {}
    for size in SIZES:
        many.grow(size)
        ours, theirs = [], []
        for turn in range(TURNS + 1):
            for ask, seconds in ((doctor, ours), (by_hand, theirs)):
                took, found = timed(ask)
                assert found == size * len(site.namespaces), f"{ask.__name__} saw {found} Helm releases"
                if turn:  # the first one warms up
                    seconds.append(took)
        medians[size], peer = statistics.median(ours), statistics.median(theirs)
        times = round(medians[size] / peer, 2)
        bar: Line = {"at_most_times_peer": TIMES_PEER, "met": times <= TIMES_PEER}
        yield {
            "name": f"doctor, {size} models in each of 3 environments",
            "value": round(medians[size], 3),
            "unit": "seconds",
            "runs": TURNS,
            "peer": round(peer, 3),
            "times_peer": times,
            **bar,
        }
    more = (medians[SIZES[-1]] - medians[SIZES[0]]) / (SIZES[-1] - SIZES[0])
    yield {"name": "each further model in 3 environments", "value": round(more * 1000, 2), "unit": "milliseconds"}


def timed(ask: Callable[[], int]) -> tuple[float, int]:
    """Seconds, and what was found."""
    began = time.perf_counter()
    found = ask()
    return time.perf_counter() - began, found


def main() -> int:
    """Measure, print and write; 1 if a promise is not kept."""
    with bench_site() as site:
        import httpx

        from sandbox.kubernetes.meta.kubeconfig import read_kubeconfig

        access = read_kubeconfig(site.world.cluster.kubeconfig)
        with httpx.Client(base_url=access.url, verify=access.tls(), headers=access.headers(), trust_env=False, timeout=60) as api:
            site.edit("environments/production.yaml", approval={"required": False})
            released = site.release("development", "staging", "production")
            assert released.is_completed(), released.message
            return report(measure(site, api), RESULTS)


if __name__ == "__main__":
    sys.exit(main())
