"""What is there after a run, read past every proxy: the facts that the invariants judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import psycopg
from kubernetes.client import BatchV1Api, CoreV1Api, CustomObjectsApi
from kubernetes.config import new_client_from_config
from prefect.client.schemas.objects import FlowRun

from blocks.endpoint import Endpoint
from blocks.errors import PipelineError
from blocks.helm import Helm
from blocks.registry import Entry
from flows.delivery import git_files
from flows.naming import release_name
from flows.runtime.forms import has_form
from flows.spec.load import ROOT
from sandbox.git import BareRepository, git
from sandbox.helm import helm_executable
from tests.chaos.facts import HelmRecord, InArgo, Row, Seen
from tests.chaos.traffic import Traffic
from tests.flows.conftest import Site
from tests.gitops.layout import PLACE


def look(
    site: Site,
    environment: str,
    run: FlowRun,
    traffic: Traffic | None = None,
    processes: Sequence[str] = (),
    followed: BareRepository | None = None,
) -> Seen:
    """Look at everything that a run of the site's model in the environment may have left."""
    namespace, release = f"{environment}-{site.name}", release_name(site.model, environment)
    kubeconfig = site.world.cluster.kubeconfig
    with new_client_from_config(str(kubeconfig)) as api:
        secrets = CoreV1Api(api).list_namespaced_secret(namespace, label_selector="owner=helm").items
        jobs = BatchV1Api(api).list_namespaced_job(namespace).items
        pods = CoreV1Api(api).list_namespaced_pod(namespace, label_selector=f"app.kubernetes.io/instance in ({release},{release}-b)").items
    helm = Helm(kubeconfig=kubeconfig, chart=ROOT / "charts" / "vllm-deployment", executable=str(helm_executable())).client()
    current = helm.current(release, namespace)
    labels = tuple(sorted(str((pod.metadata.labels or {}).get("slipway.dev/candidate")) for pod in pods if _serves(pod)))
    with site.registry() as registry:
        entries = registry.entries(model=site.model)
        events = [event for event in reversed(registry.events.latest(run_id=str(run.id))) if event.environment in (environment, None)]
        broken = registry.audit.verify().broken
    with psycopg.connect(site.database) as connection:
        locks = dict(connection.execute("SELECT environment, holder FROM slipway_locks WHERE holder IS NOT NULL").fetchall())
        codes = connection.execute(
            "SELECT actor, count(*) FROM slipway_events WHERE kind = 'approved' AND run_id = %s GROUP BY actor", [str(run.id)]
        )
        used = dict(codes.fetchall())
    now = site.client.read_flow_run(run.id)
    state = now.state
    rows = tuple(
        Row(
            fingerprint=entry.fingerprint,
            commit=entry.hub_revision,
            status=entry.status,
            labels=labels if entry.status == "ready" else (),
            roots=_roots(site, entry.endpoint) if entry.status == "ready" else (),
        )
        for entry in entries
        if entry.environment == environment
    )
    return Seen(
        state=(state.name or "") if state else "",
        message=(state.message or "") if state else "",
        helm=tuple(
            HelmRecord(
                release=secret.metadata.labels["name"],
                number=int(secret.metadata.labels["version"]),
                status=secret.metadata.labels["status"],
            )
            for secret in secrets
        ),
        helm_release=release,
        helm_fingerprint=current.fingerprint if current else None,
        jobs={job.metadata.name: "ended" if job.status.succeeded or job.status.failed else "unfinished" for job in jobs},
        locks=locks,
        rows=rows,
        kinds=Counter(event.kind for event in events),
        twice=tuple(sorted(kind for (kind, _), times in Counter((event.kind, event.fingerprint) for event in events).items() if times > 1)),
        codes_used=used,
        broken_chain=broken,
        formless=state is not None and state.is_paused() and not has_form(site.client, now),
        processes=tuple(processes),
        refused=traffic.refused if traffic else (),
        wrong=traffic.wrong if traffic else (),
        asked=traffic.asked if traffic else 0,
        argo=_in_argo(site, environment, run, followed, entries) if followed is not None else None,
    )


def _in_argo(site: Site, environment: str, run: FlowRun, followed: BareRepository, entries: Sequence[Entry]) -> InArgo:
    with new_client_from_config(str(site.world.cluster.kubeconfig)) as api:
        objects = CustomObjectsApi(api)
        found = objects.get_namespaced_custom_object(*PLACE, "applications", release_name(site.model, environment))
    status, where = found["status"], f"environments/{environment}/{site.model}"
    phase = status.get("operationState", {}).get("phase", "")
    running = phase in ("Running", "Terminating")
    made = [message for _, message in reversed(followed.log()) if f"\nRun: {run.id}" in message]
    serving = next((entry for entry in entries if entry.environment == environment and entry.status == "ready"), None)
    return InArgo(
        head=followed.head,
        promoted=git_files.promoted(followed.read(f"{where}/{git_files.RELEASE}")),
        commits=tuple(_commit(message) for message in made),
        recorded=serving.git_commit if serving else None,
        delivered=git(followed.folder, "log", "-1", "--format=%H", followed.branch, "--", where).strip(),
        sync=status["sync"]["status"],
        revision=status["sync"]["revision"],
        operation=phase if running else "Pending" if found.get("operation") else "",
        resources=tuple(f"{each['kind']}/{each['name']}" for each in status.get("resources", ())),
    )


def _commit(message: str) -> tuple[str, str]:
    """The first word of what a commit does, and its candidate."""
    does = message.splitlines()[0].partition(": ")[2].split()
    return does[0], does[-1]


def _serves(pod: object) -> bool:
    conditions = pod.status.conditions or []  # type: ignore[attr-defined]
    ready = any(condition.type == "Ready" and condition.status == "True" for condition in conditions)
    return ready and pod.metadata.deletion_timestamp is None  # type: ignore[attr-defined]


def _roots(site: Site, endpoint: str | None) -> tuple[str, ...]:
    if endpoint is None:
        return ()
    try:
        with Endpoint(via="service-proxy", kubeconfig=site.world.cluster.kubeconfig).client(endpoint) as client:
            return tuple(model.root for model in client.models())
    except PipelineError:
        return ()
