"""Registry, Helm, Kubernetes and nodes do not say the same of a place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import get_args

from blocks.facts import Pod
from flows.doctor.rules.facts import EntryFact, EnvironmentFacts, Facts
from flows.doctor.rules.runs import is_held
from flows.doctor.rules.symptom import FIX, StartRun, Symptom, Unstick
from flows.naming import Slot, engine_name, release_name

#: Characters of the fingerprint in the label `slipway.dev/candidate`.
_LABEL = "slipway.dev/candidate"
_LABEL_LENGTH = 40

#: Five rounds of the monitor: what serves and was not looked at for so long is watched by nobody.
UNWATCHED = timedelta(minutes=5)

_STUCK = ("pending-install", "pending-upgrade", "pending-rollback", "uninstalling")

_REVALIDATE = "revalidate/revalidate"


def place_symptoms(facts: Facts) -> Iterable[Symptom]:
    """What the registry lacks or says wrongly, environment by environment."""
    if facts.migrations_missing:
        names = ", ".join(facts.migrations_missing)
        yield Symptom(
            kind="not-migrated",
            about="registry",
            message=f"migrations were not applied to the registry: {names}.",
            command="slipway migrate",
        )
    busy = {(lock.model, lock.environment) for lock in facts.locks if is_held(lock)}
    for name, seen in facts.environments.items():
        if seen.problem:
            yield Symptom(
                kind="unseen",
                about=name,
                message=f"{name} could not be looked at: {seen.problem}",
                command="docs/troubleshooting.md has the sentence",
            )
            continue
        entries = [entry for entry in facts.entries if entry.environment == name]
        yield from _pods(name, seen, [entry for entry in entries if (entry.model, name) not in busy])
        yield from _helm(name, seen, entries, busy)
        yield from _nodes(name, seen, facts)
    yield from _unwatched(facts)


def _pods(environment: str, seen: EnvironmentFacts, entries: list[EntryFact]) -> Iterator[Symptom]:
    """What is ready, and whose pods are another candidate's or not there. A place that a run is changing just now is left out."""
    of_release: defaultdict[str, list[Pod]] = defaultdict(list)
    for pod in seen.pods:
        if not pod.terminating:
            of_release[pod.labels.get("app.kubernetes.io/instance", "")].append(pod)
    for entry in entries:
        if entry.status != "ready" or entry.fingerprint is None:
            continue
        release = release_name(entry.model, environment)
        engines = [of_release[engine_name(release, slot)] for slot in get_args(Slot)]
        mine = [pods for pods in engines if any(pod.labels.get(_LABEL) == entry.fingerprint[:_LABEL_LENGTH] for pod in pods)]
        # Which of the two serves is the Service's to say; what is not its candidate's in the engine that has some of it is wrong.
        pods = (mine or engines)[0]
        wrong = sorted(pod.name for pod in pods if pod.labels.get(_LABEL) != entry.fingerprint[:_LABEL_LENGTH])
        if pods and not wrong:
            continue
        said = f"pods {', '.join(wrong)} carry another candidate" if wrong else "it has no pods"
        yield Symptom(
            kind="wrong-pods",
            about=f"{entry.model} in {environment}",
            message=f"{entry.model} is ready in {environment} with candidate {entry.fingerprint[:12]}, but {said}.",
            command=f"prefect deployment run {_REVALIDATE}",
            remedy=StartRun(deployment=_REVALIDATE),
        )


def _helm(environment: str, seen: EnvironmentFacts, entries: list[EntryFact], busy: set[tuple[str, str]]) -> Iterator[Symptom]:
    models = {release_name(entry.model, environment): entry.model for entry in entries}
    serving = {entry.model: entry.fingerprint for entry in entries if entry.status in ("ready", "degraded")}
    for release in seen.releases:
        model = models.get(release.name)
        if model is None:
            yield Symptom(
                kind="unknown-release",
                about=f"{release.name} in {seen.namespace}",
                message=f"Helm release {release.name} in {seen.namespace} is of no model that the registry knows in {environment}.",
                command=f"helm uninstall {release.name} --namespace {seen.namespace}",
            )
        elif release.status in _STUCK and (model, environment) not in busy:
            yield Symptom(
                kind="stuck-release",
                about=f"{model} in {environment}",
                message=f"Helm release {release.name} in {seen.namespace} is {release.status}, and no run is at it.",
                command=FIX,
                # What was begun is finished only if it is what the registry says that serves.
                remedy=Unstick(model=model, environment=environment, release=release.name, wanted=serving.get(model)),
            )
    known = {release.name for release in seen.releases}
    for deployment in seen.deployments:
        # Argo CD renders the chart, and leaves no release of Helm's.
        if seen.by_helm and not {deployment, deployment.removesuffix("-b")} & known:
            yield Symptom(
                kind="unknown-deployment",
                about=f"{deployment} in {seen.namespace}",
                message=f"Kubernetes Deployment {deployment} in {seen.namespace} is of the chart, but Helm has no release of that name.",
                command=f"kubectl delete deployment {deployment} --namespace {seen.namespace}",
            )


def _nodes(environment: str, seen: EnvironmentFacts, facts: Facts) -> Iterator[Symptom]:
    if not seen.ready_nodes:
        yield Symptom(
            kind="no-node",
            about=environment,
            message=f"no node that {environment} may use is ready and takes pods.",
            command="kubectl get nodes",
        )
    for scrub in facts.scrubs:
        if scrub.environment == environment and scrub.corrupt:
            where = ", ".join(scrub.snapshots) or "no snapshot"
            yield Symptom(
                kind="damaged-weights",
                about=f"{scrub.node} in {environment}",
                message=f"the last scrub of node {scrub.node} ({scrub.at:%Y-%m-%d %H:%M} UTC) found {scrub.corrupt} damaged contents, in "
                f"{where}.",
                command=f"prefect deployment run {_REVALIDATE}",
                remedy=StartRun(deployment=_REVALIDATE),
            )


def _unwatched(facts: Facts) -> Iterator[Symptom]:
    """Nobody looks at what is ready. It is one symptom, however many entries there are: the monitor looks at all of them or none."""
    ready = [entry for entry in facts.entries if entry.status == "ready"]
    stale = [entry for entry in ready if entry.last_checked_at is None or facts.now - entry.last_checked_at > UNWATCHED]
    if stale:
        entry = stale[0]
        yield Symptom(
            kind="unwatched",
            about="monitor",
            message=f"the health of {len(stale)} of {len(ready)} ready entries was not checked for {UNWATCHED.seconds // 60} minutes "
            f"({entry.model} in {entry.environment}).",
            command="slipway monitor",
        )
