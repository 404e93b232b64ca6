"""The Kubernetes work pool: the real worker turns runs into Jobs on the cluster, and a release goes through one."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
import yaml
from kubernetes.client import ApiClient, AuthenticationV1TokenRequest, BatchV1Api, CoreV1Api, RbacAuthorizationV1Api, V1TokenRequestSpec
from kubernetes.config import new_client_from_config
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.deployments.runner import EntrypointType
from prefect.settings import get_current_settings
from prefect.states import AwaitingRetry, Cancelling

from flows.release import release
from flows.spec.load import ROOT
from sandbox.children import Child
from sandbox.hub.faults import Fault
from sandbox.world import PREFETCH_IMAGE, WORKER_IMAGE
from tests.flows.conftest import Site
from tests.support.waiting import until

WORKER = ROOT / "deployments" / "worker"
PASSWORD = "opensesame"
DIGEST = "@sha256:" + 64 * "5"


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A work pool with a worker, in a namespace of the site's."""

    site: Site
    namespace: str
    deployment_id: UUID
    worker: Child
    api: ApiClient

    def start(self, **job_variables: Any) -> FlowRun:
        """Ask for a release to development."""
        parameters = {"model": self.site.model, "environments": ["development"], "requester": "zoe"}
        return self.site.client.create_flow_run_from_deployment(self.deployment_id, parameters=parameters, job_variables=job_variables)

    def until(self, run: FlowRun, *names: str) -> str:
        """Wait until the run's state has one of these names; its message."""
        until(lambda: self.site.client.read_flow_run(run.id).state_name in names, lambda: self._story(run))
        state = self.site.client.read_flow_run(run.id).state
        assert state is not None
        return state.message or ""

    def jobs(self, run: FlowRun) -> list[dict[str, Any]]:
        """The run's Jobs, as the API server has them."""
        return self._listed(BatchV1Api(self.api).list_namespaced_job, run)

    def pods(self, run: FlowRun) -> list[dict[str, Any]]:
        """The run's pods, as the API server has them."""
        return self._listed(CoreV1Api(self.api).list_namespaced_pod, run)

    def told(self, run: FlowRun) -> list[str]:
        """What the run's page shows as its log."""
        return [log.message for log in self.site.client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))]

    def _listed(self, call: Callable[..., Any], run: FlowRun) -> list[dict[str, Any]]:
        found = call(self.namespace, label_selector=f"prefect.io/flow-run-id={run.id}", _preload_content=False)
        items: list[dict[str, Any]] = json.loads(found.data)["items"]
        return items

    def kill(self, pod: dict[str, Any]) -> None:
        """End the pod's processes without a warning, as when it runs out of memory."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("HOSTNAME") == pod["metadata"]["name"]:
                    process.kill()

    def under_way(self, run: FlowRun) -> dict[str, Any]:
        """Wait until the run waits for the weights; its pod."""
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))

        def begun() -> bool:
            return any(task.name.startswith("prefetch") for task in self.site.client.read_task_runs(flow_run_filter=wanted, limit=200))

        until(begun, lambda: self._story(run))
        (pod,) = self.pods(run)
        return pod

    def _story(self, run: FlowRun) -> str:
        states = [f"{state.timestamp:%X} {state.name}: {state.message}" for state in self.site.client.read_flow_run_states(run.id)]
        return f"{states}\n{[pod['status'] for pod in self.pods(run)]}\n{self.worker.last_words(40)}"


def documented_role() -> dict[str, Any]:
    """What docs/worker.md says that the worker may do."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "worker.md").read_text(), re.DOTALL)
    return next(block for block in map(yaml.safe_load, blocks) if block["metadata"]["name"] == "slipway-worker")


@pytest.fixture
def pool(site: Site, tmp_path: Path) -> Iterator[Pool]:
    """The pool of `deployments/worker`, with a worker that has the values' settings and the documented rights, and no more."""
    namespace = f"slipway-{site.name}"  # goes with the site
    # As everywhere, `deployments/` is in the image.
    image, plain = f"{WORKER_IMAGE}-{site.name}", site.world.images[WORKER_IMAGE]
    site.world.images[image] = replace(plain, env={**plain.env, "SLIPWAY_DEPLOYMENTS": str(site.deployments)})
    values = yaml.safe_load((WORKER / "values.yaml").read_text())
    with new_client_from_config(str(site.world.cluster.kubeconfig)) as api:
        kubeconfig = install(api, namespace, values, tmp_path)
        template = json.loads((WORKER / "base-job-template.json").read_text())
        template["variables"]["properties"]["image"]["default"] = image + DIGEST
        site.client.create_work_pool(WorkPoolCreate(name=namespace, type="kubernetes", base_job_template=template))
        deployment = release.to_deployment(
            namespace,
            work_pool_name=namespace,
            entrypoint_type=EntrypointType.MODULE_PATH,
            job_variables={
                "namespace": namespace,
                # The sandbox has GPU nodes alone.
                "tolerations": [{"operator": "Exists"}],
            },
        )
        arguments = ["worker", "start", "--pool", namespace, "--type", "kubernetes", "--install-policy", "never", "--name", namespace]
        worker = Child(
            [sys.executable, "-m", "prefect", *arguments],
            log=tmp_path / "worker.log",
            environment=worker_environment(values, namespace, tmp_path) | {"KUBECONFIG": str(kubeconfig)},
            folder=tmp_path,
        )
        try:
            yield Pool(site=site, namespace=namespace, deployment_id=deployment.apply(), worker=worker, api=api)  # type: ignore[union-attr,arg-type]
        finally:
            worker.close()


def install(api: ApiClient, namespace: str, values: dict[str, Any], folder: Path) -> Path:
    """The namespace with what docs/worker.md asks for; a kubeconfig of the worker's service account."""
    core, rbac = CoreV1Api(api), RbacAuthorizationV1Api(api)
    worker, secret = values["serviceAccount"]["name"], values["worker"]["selfHostedServerApiConfig"]["basicAuth"]["existingSecret"]
    core.create_namespace({"metadata": {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
    for name in (worker, "slipway-flows"):
        core.create_namespaced_service_account(namespace, {"metadata": {"name": name}})
    core.create_namespaced_secret(namespace, {"metadata": {"name": secret}, "stringData": {"auth-string": f"slipway:{PASSWORD}"}})
    role = documented_role()
    role["metadata"]["namespace"] = namespace
    rbac.create_namespaced_role(namespace, role)
    binding = {
        "metadata": {"name": worker},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": worker, "namespace": namespace}],
    }
    rbac.create_namespaced_role_binding(namespace, binding)
    request = AuthenticationV1TokenRequest(spec=V1TokenRequestSpec(audiences=[], expiration_seconds=3600))
    token = core.create_namespaced_service_account_token(worker, namespace, request).status.token
    authority = Path(api.configuration.ssl_ca_cert).read_text()
    path = folder / "worker.kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "worker",
                "clusters": [{"name": "c", "cluster": {"server": api.configuration.host, "certificate-authority": str(folder / "ca.pem")}}],
                "contexts": [{"name": "worker", "context": {"cluster": "c", "user": "worker", "namespace": namespace}}],
                "users": [{"name": "worker", "user": {"token": token}}],
            }
        )
    )
    (folder / "ca.pem").write_text(authority)
    return path


def worker_environment(values: dict[str, Any], namespace: str, home: Path) -> dict[str, str]:
    """What the chart makes of the values, for this namespace."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    given = {entry["name"]: entry["value"] for entry in values["worker"]["extraEnvVars"]}
    return {
        **inherited,
        **given,
        "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES": namespace,
        "PREFECT_API_URL": str(get_current_settings().api.url),
        "PREFECT_API_AUTH_STRING": f"slipway:{PASSWORD}",
        "HOME": str(home),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }


def test_a_release_goes_through_the_pool_and_outlives_its_pod(site: Site, pool: Pool) -> None:
    # given a run with the wrong image, one that no node takes and that is cancelled, and a release whose weights come slowly
    wrong = pool.start(image=PREFETCH_IMAGE + DIGEST)
    stuck = pool.start(node_selector={"disk": "none-such"})
    until(lambda: [pod["status"]["phase"] for pod in pool.pods(stuck)] == ["Pending"])
    site.client.set_flow_run_state(stuck.id, Cancelling())
    site.publish_own()
    site.world.hub.faults.add(Fault(origin="cdn", path=f"*{site.model}*", times=None, bytes_per_second=100_000))
    run = pool.start()

    # when the release is under way, then it is one Job, whose pod keeps the rules of the namespace and holds no secret
    pod = pool.under_way(run)
    (job,) = pool.jobs(run)
    assert PASSWORD not in json.dumps([job, pod])
    variables = {entry["name"]: entry for entry in pod["spec"]["containers"][0]["env"]}
    assert variables["PREFECT_API_AUTH_STRING"]["valueFrom"]["secretKeyRef"] == {"name": "slipway-prefect", "key": "auth-string"}
    assert pod["spec"]["serviceAccountName"] == "slipway-flows"

    # and when the pod dies without a word, Prefect hears of it
    pool.kill(pod)
    assert "No active or succeeded pods" in pool.until(run, "Crashed")
    assert site.statuses() == {"development": "deploying"}

    # and when the run is tried again, a second Job carries it to the end
    site.world.hub.faults.clear()
    site.client.set_flow_run_state(run.id, AwaitingRetry())
    pool.until(run, "Completed", "Failed", "Errored", "Crashed")
    assert site.statuses() == {"development": "ready"}
    assert site.ask("The capital of France is") == " Paris."
    assert len(pool.jobs(run)) == 2

    # and meanwhile the cancelled run has ended and its Job is gone
    pool.until(stuck, "Cancelled")
    until(lambda: pool.jobs(stuck) == [])

    # and the run with the wrong image has ended, too, and says why
    pool.until(wrong, "Crashed")
    until(lambda: any("invalid choice: 'prefect'" in line for line in pool.told(wrong)), lambda: str(pool.told(wrong)))
