"""A site of its own for each flow test: model, environments, namespaces, database and blocks that nobody else uses."""

from __future__ import annotations

import asyncio
import functools
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments.runner import EntrypointType
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.settings import (
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    PREFECT_LOCAL_STORAGE_PATH,
    PREFECT_LOGGING_TO_API_ENABLED,
    get_current_settings,
    temporary_settings,
)
from prefect.states import Pending
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from blocks.authenticators import save_authenticator
from blocks.cluster import Cluster, ClusterClient
from blocks.endpoint import Endpoint
from blocks.facts import Pod
from blocks.helm import Helm
from blocks.hub import Hub
from blocks.registry import Event, Registry, RegistryClient
from flows.approval.totp import STEP_SECONDS, current_code, new_secret
from flows.monitor import monitor
from flows.plan import plan
from flows.rehearse import rehearse
from flows.release import release
from flows.revalidate import revalidate
from flows.rollback import rollback
from flows.spec.load import ROOT
from flows.sweep import sweep
from sandbox import models
from sandbox.helm import helm_executable
from sandbox.prefect import one_authority
from sandbox.world import World
from tests.flows.saving import save_blocks
from tests.support.documents import read_yaml
from tests.support.environments import clear_environments, install_environments
from tests.support.patient import RETRIES, patient_client
from tests.support.waiting import HANGS_SECONDS

#: Limits of ten times what is shipped: the machine may be busy, and what is tested is what follows from a limit. Few requests, and the
#: short suite of checks: what they tell is tested in tests/verification, and as many as are shipped are half of what a release costs here.
LATENCY = {"p50_seconds": 1.0, "p95_seconds": 3.0, "samples": 20, "max_tokens": 2, "warmup": 1, "concurrency": [1]}

#: The environments of each site, in the order of promotion.
ENVIRONMENTS = ("development", "staging", "production")


@pytest.fixture(scope="session")
def prefect_settings(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """This process talks to the tests' Prefect server, and keeps results in a folder of its own."""
    with talking_to(prefect_api, tmp_path_factory.mktemp("prefect-home")):
        yield


@contextmanager
def talking_to(prefect_api: str, home: Path) -> Iterator[None]:
    """Have this process talk to that Prefect server while the block runs, with its results and settings in that folder."""
    authority = str(one_authority(home))
    updates = {
        PREFECT_API_URL: prefect_api,
        PREFECT_API_SSL_CERT_FILE: authority,
        PREFECT_CLIENT_MAX_RETRIES: RETRIES,
        PREFECT_HOME: home,
        PREFECT_LOCAL_STORAGE_PATH: home / "storage",
        # A sync flow waits up to a second for its heartbeat thread; runs here are short and watched.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        # No test reads the log of a run in this process; that it reaches the server is seen where the work pool's pods run.
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with pytest.MonkeyPatch.context() as patch, temporary_settings(updates):
        # For the processes that tests start, and for commands that read: those ask without Prefect, which alone sees temporary settings.
        patch.setenv("PREFECT_API_SSL_CERT_FILE", authority)
        patch.setenv("PREFECT_API_URL", prefect_api)
        patch.setenv("PREFECT_CLIENT_MAX_RETRIES", str(RETRIES))
        yield


@pytest.fixture(scope="session")
def prefect_deployments(prefect_settings: None) -> dict[str, UUID]:
    return deploy_flows()


def deploy_flows() -> dict[str, UUID]:
    """Make Prefect deployments of all flows, by the flows' names: a run without one cannot be suspended.

    By module: of a flow in a file Prefect's runner copies the folder before each run, here with the whole environment that lies in it.
    """
    flows: tuple[Flow[..., Any], ...] = (release, plan, rollback, rehearse, revalidate, monitor, sweep)
    suffix = uuid.uuid4().hex[:8]
    return {flow.name: flow.to_deployment(f"test-{suffix}", entrypoint_type=EntrypointType.MODULE_PATH).apply() for flow in flows}  # type: ignore[union-attr,misc]


@dataclass
class Site:
    """What a flow test works with."""

    world: World
    name: str
    blocks: str
    model: str
    repository: str
    deployments: Path
    database: str
    client: SyncPrefectClient
    deployment_ids: dict[str, UUID]
    secrets: dict[str, str]
    signed: dict[str, int] = field(default_factory=dict)
    enrolled: set[str] = field(default_factory=set)
    stack: ExitStack = field(default_factory=ExitStack)

    def start(self, flow: Flow[..., Any], **parameters: Any) -> FlowRun:
        """Create a run, as the Prefect UI does; a release is asked for by `zoe` unless somebody is named."""
        if flow is release:
            parameters = {"requester": "zoe", **parameters}
        return self.client.create_flow_run_from_deployment(self.deployment_ids[flow.name], parameters=parameters)

    def leg(self, flow: Flow[..., Any], run: FlowRun) -> State[Any]:
        """Execute the run in this process until it ends or is suspended, as a worker's process does."""
        self.client.set_flow_run_state(run.id, Pending())
        try:
            return asyncio.run(run_flow(flow, flow_run=self.client.read_flow_run(run.id), return_type="state"))  # type: ignore[arg-type]
        except Pause as pause:
            return cast("State[Any]", pause.state)

    def run(self, flow: Flow[..., Any], **parameters: Any) -> State[Any]:
        """Create a run and execute it until it ends or is suspended."""
        return self.leg(flow, self.start(flow, **parameters))

    def resume(self, run: FlowRun, **answer: Any) -> str:
        """Answer the form of a suspended run; what the server says to it."""
        return self.client.resume_flow_run(run.id, run_input=answer).status.value

    def resume_once(self, run: FlowRun, **answer: Any) -> str:
        """Answer the form as a browser does, which does not ask again: what the server says to it, `REFUSED` if it took nothing."""
        answered = _browser().post(f"{str(self.client.api_url).rstrip('/')}/flow_runs/{run.id}/resume", json={"run_input": answer})
        if answered.status_code in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.CONFLICT}:
            return "REFUSED"
        return str(answered.raise_for_status().json()["status"])

    def sign(self, run: FlowRun, who: str = "ada", decision: str = "approve", **changes: Any) -> str:
        """Answer the form as one of the site's approvers (`ada`, `bob`), with a fresh code; what the server says to it."""
        # A code works once; that of the next step is accepted, too: a test may sign twice. The step before is left for slow machines.
        offset = self.signed[who] = self.signed.get(who, -1) + 1
        answer = {"decision": decision, "approver": self.approver(who), "reason": "looks good"}
        said = "REFUSED"
        for _ in range(100):  # Prefect's own client would come back after a minute, with the old code, where SQLite turned it away
            said = self.resume_once(run, **{**answer, "code": self.code(who, offset), **changes})
            if said != "REFUSED":
                break
        return said

    def code(self, who: str, step: int = 0) -> str:
        """The approver's code of this time step, or of one before or after it."""
        return current_code(self.secrets[self.approver(who)], datetime.now(UTC) + timedelta(seconds=step * STEP_SECONDS))

    def approver(self, who: str) -> str:
        """The name with which an approver of this site signs; enrolled when first asked for, since most tests need nobody."""
        name = f"{who}-{self.name}"
        if name not in self.enrolled:
            self.enrolled.add(name)
            save_authenticator(name, self.secrets[name])
        return name

    def form(self, run: FlowRun) -> str:
        """The text above the form that the run waits with."""
        state = self.client.read_flow_run(run.id).state
        assert state is not None
        assert state.name == "Suspended", state.message
        return str(self.client.read_flow_run_input(run.id, (state.state_details.run_input_keyset or {})["description"]))

    def only_production(self, **policy: Any) -> None:
        """Let candidates enter production at once, under this approval policy."""
        self.edit("environments/production.yaml", after=None, approval={"required": True, **policy})

    def events(self, run: FlowRun) -> list[Event]:
        """What the registry recorded of the run, oldest first."""
        with self.registry() as registry:
            return list(reversed(registry.events.latest(run_id=str(run.id))))

    def release(self, *environments: str, **parameters: Any) -> State[Any]:
        """Release the site's model; to development alone unless environments are named."""
        return self.run(release, model=self.model, environments=list(environments or ["development"]), **parameters)

    def steps(self, run: FlowRun) -> dict[str, str]:
        """The run's task runs: name → name of the final state."""
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        return {task.name: task.state_name or "" for task in self.client.read_task_runs(flow_run_filter=wanted, limit=200)}

    def shown(self, run: FlowRun) -> dict[str, Any]:
        """The run's artifacts but for what it returned: key → what it shows."""
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        found = self.client.read_artifacts(artifact_filter=wanted)
        return {artifact.key: artifact.data for artifact in found if artifact.key}

    def statuses(self) -> dict[str, str]:
        """Environment → status of the newest entry."""
        with self.registry() as registry:
            return {entry.environment: entry.status for entry in registry.entries(model=self.model)}

    def all_statuses(self) -> list[str]:
        """The statuses of all entries."""
        with self.registry() as registry:
            return [entry.status for entry in registry.entries(model=self.model)]

    def pods(self, environment: str = "development") -> tuple[Pod, ...]:
        """The model's pods there."""
        return self.cluster.pods.list(f"{environment}-{self.name}", {"app.kubernetes.io/name": "vllm-deployment"})

    @functools.cached_property
    def cluster(self) -> ClusterClient:
        """A client of the cluster, one for all looks: tests look many times a second until something is so."""
        return self.stack.enter_context(Cluster(kubeconfig=self.world.cluster.kubeconfig).client())

    def ask(self, prompt: str, environment: str = "development") -> str:
        """What the environment's route answers."""
        with self.registry() as registry:
            route = registry.route(self.model, environment).endpoint
        assert route is not None, f"nothing is routed in {environment}"
        with Endpoint(via="service-proxy", kubeconfig=self.world.cluster.kubeconfig).client(route) as endpoint:
            return endpoint.complete(self.model, prompt, 16).text

    def registry(self) -> RegistryClient:
        """The site's registry."""
        return RegistryClient(self.database)

    def forget_results(self) -> None:
        """Lose what runs kept beside the registry, as a pod's own disk is lost with the pod."""
        shutil.rmtree(get_current_settings().results.local_storage_path, ignore_errors=True)

    def clear(self) -> None:
        """Let go of what runs in the site's namespaces, and of their volumes."""
        clear_environments(self.world, f"-{self.name}")

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces of its environments."""
        return tuple(f"{name}-{self.name}" for name in ENVIRONMENTS)

    def publish(self, **changes: Any) -> str:
        """Publish a commit of the model on the hub; its SHA."""
        return self.world.hub.add(self.repository, models.make_model(**changes) if changes else _usual_model())

    def publish_own(self) -> str:
        """Publish a commit whose weights no other test has: the node's store knows a content again, whatever it is called."""
        return self.publish(seed=int(self.name, 16) % 2**31)

    def environment(self, name: str) -> dict[str, Any]:
        """The environment's file."""
        return _read(self.deployments / "environments" / f"{name}.yaml")

    def edit(self, name: str, **changes: Any) -> None:
        """Change keys of a file of `deployments/`."""
        path = self.deployments / name
        path.write_text(yaml.safe_dump({**_read(path), **changes}))


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = read_yaml(path.read_text())
    return document


@functools.cache
def _browser() -> httpx.Client:
    # No connection is kept: the server may have closed it just now.
    return httpx.Client(timeout=HANGS_SECONDS, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


@functools.cache
def _usual_model() -> dict[str, bytes]:
    return models.make_model()


@functools.cache
def _migrated(world: World) -> str:
    """The name of a database of the world with the present schema: to copy it takes a fifth of what it takes to make one."""
    with RegistryClient(world.postgres.create_database("migrated")) as registry:
        registry.migrate()
    return "migrated"


@pytest.fixture
def site(world: World, prefect_deployments: dict[str, UUID], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site of its own: nothing that another test does can be seen in it."""
    with open_site(world, prefect_deployments, tmp_path, monkeypatch) as site:
        yield site


@pytest.fixture(scope="module")
def refusing(world: World, prefect_deployments: dict[str, UUID], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site of a module's tests in which nothing is released."""
    with pytest.MonkeyPatch.context() as patch, open_site(world, prefect_deployments, tmp_path_factory.mktemp("refusing"), patch) as site:
        yield site


@pytest.fixture
def refusing_site(refusing: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """That site: files and revisions are a test's own, but not blocks, registry and namespaces, which it leaves as they are."""
    deployments = tmp_path / "deployments"
    shutil.copytree(refusing.deployments, deployments)
    monkeypatch.setenv("SLIPWAY_DEPLOYMENTS", str(deployments))
    yield replace(refusing, deployments=deployments)
    refusing.publish()


@contextmanager
def open_site(world: World, prefect_deployments: dict[str, UUID], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A new site in a world; what runs in its namespaces goes at the end."""
    unique = uuid.uuid4().hex[:8]
    model, blocks = f"tiny-{unique}x", f"site-{unique}"
    deployments = tmp_path / "deployments"
    shutil.copytree(ROOT / "deployments", deployments)
    monkeypatch.setenv("SLIPWAY_DEPLOYMENTS", str(deployments))
    (deployments / "shared.yaml").write_text(yaml.safe_dump({"registry": blocks, "hub": blocks}))
    dsn = world.postgres.create_database(f"site_{unique}", template=_migrated(world))
    kubeconfig = world.cluster.kubeconfig
    secrets = {f"{who}-{unique}": new_secret() for who in ("ada", "bob", "eve")}
    people = [{"name": name, "roles": ["release-manager"], "environments": ["production"]} for name in secrets]
    people[-1]["roles"] = ["developer"]
    (deployments / "approvers.yaml").write_text(yaml.safe_dump({"approvers": people}))
    with patient_client() as client:
        save_blocks(
            client,
            blocks,
            # The pipeline is no superuser: it has the rights of its role and no more.
            Registry(dsn=SecretStr(make_conninfo(dsn, options="-c role=slipway_admin"))),
            Hub(endpoint=world.hub.url),
            Cluster(kubeconfig=kubeconfig),
            Helm(kubeconfig=kubeconfig, chart=ROOT / "charts" / "vllm-deployment", executable=str(helm_executable())),
            Endpoint(via="service-proxy", kubeconfig=kubeconfig),
        )
        made = Site(
            world=world,
            name=unique,
            blocks=blocks,
            model=model,
            repository=f"slipway-demo/{model}",
            deployments=deployments,
            database=dsn,
            client=client,
            deployment_ids=prefect_deployments,
            secrets=secrets,
        )
        shipped = _read(deployments / "models" / "tiny-llama.yaml")
        own = {"name": model, "repository": made.repository, "checks": "smoke"}
        (deployments / "models" / f"{model}.yaml").write_text(yaml.safe_dump({**shipped, **own}))
        install_environments(world, made.namespaces)
        for name in ENVIRONMENTS:
            # One replica each: a test needs two GPUs at the most.
            here = {"namespace": f"{name}-{unique}", "blocks": blocks, "values": {"replicas": 1}}
            made.edit(f"environments/{name}.yaml", **here, latency=LATENCY)
        made.publish()
        with made.stack:
            yield made
        world.engine_faults.clear()
        world.hub.faults.clear()
        made.clear()
