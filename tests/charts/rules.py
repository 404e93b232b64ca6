"""What a careful platform team asks of any chart, as one function over the documents of a release: each problem is a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]

CONFINED = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

#: Folders of a node that a pod may mount, by the volume's name → whether it may write to it.
FOLDERS_OF_THE_NODE = {"weights": False, "compiled": True}


def problems(documents: Sequence[Document]) -> list[str]:
    """Everything that is wrong with a release's documents, whatever it is a release of."""
    pods = [*_pods(documents)]
    found = [f"{name}: {problem}" for name, _, spec in pods for problem in (*_of_pod(spec), *_of_containers(spec))]
    found += [f"Deployment {document['metadata']['name']}: {problem}" for document in documents for problem in _of_deployment(document)]
    return [*found, *_of_selectors(documents, pods), *_of_scaling(documents), *_of_references(documents)]


def of_kind(documents: Sequence[Document], *kinds: str) -> list[Document]:
    return [document for document in documents if document["kind"] in kinds]


def _pods(documents: Sequence[Document]) -> Iterator[tuple[str, Mapping[str, str], Document]]:
    """Each pod that the release makes: what to call it, its labels, its spec."""
    for document in documents:
        template = document["spec"]["template"] if document["kind"] == "Deployment" else document if document["kind"] == "Pod" else None
        if template is not None:
            yield f"{document['kind']} {document['metadata']['name']}", template["metadata"]["labels"], template["spec"]


def _of_pod(spec: Document) -> Iterator[str]:
    context = spec.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser") or not context.get("runAsGroup"):
        yield "may run as root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has no seccomp profile"
    if spec.get("automountServiceAccountToken") is not False:
        yield "mounts a token"
    if spec.get("enableServiceLinks") is not False:
        yield "gets a variable for each Service"
    if {"hostNetwork", "hostPID", "hostIPC"} & spec.keys():
        yield "shares a namespace of the node"
    for volume in spec.get("volumes", ()):
        if "hostPath" in volume and volume["name"] not in FOLDERS_OF_THE_NODE:
            yield f"mounts a folder of the node as {volume['name']}"
        if "emptyDir" in volume and not volume["emptyDir"].get("sizeLimit"):
            yield f"fills the disk through {volume['name']}"
        if "secret" in volume or "projected" in volume:
            yield f"holds a secret in {volume['name']}"


def _of_containers(spec: Document) -> Iterator[str]:
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        name = container["name"]
        repository, _, digest = container["image"].partition("@sha256:")
        if len(digest) != 64 or ":" in repository.rpartition("/")[2]:
            yield f"{name} is not named by digest"
        if container.get("securityContext") != CONFINED:
            yield f"{name} is not confined"
        for kind in ("requests", "limits"):
            if not {"cpu", "memory"} <= container.get("resources", {}).get(kind, {}).keys():
                yield f"{name} has no {kind} of cpu and memory"
        if container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            yield f"{name} does not say why it ended"
        if "envFrom" in container or any(_elsewhere(variable) for variable in container.get("env", ())):
            yield f"{name} takes variables from elsewhere"
        for mount in container.get("volumeMounts", ()):
            if not mount.get("readOnly") and FOLDERS_OF_THE_NODE.get(mount["name"]) is False:
                yield f"{name} may write to {mount['name']}"


def _of_deployment(document: Document) -> Iterator[str]:
    if document["kind"] != "Deployment":
        return
    for container in document["spec"]["template"]["spec"]["containers"]:
        if missing := {"startupProbe", "readinessProbe", "livenessProbe"} - container.keys():
            yield f"{container['name']} lacks {', '.join(sorted(missing))}"
        elif _patience(container["livenessProbe"]) <= _patience(container["readinessProbe"]):
            yield f"{container['name']} is killed before it is taken out of service"
        gpus = {str(container["resources"][kind].get("nvidia.com/gpu")) for kind in container["resources"]}
        if gpus != {container["args"][container["args"].index("--tensor-parallel-size") + 1]}:
            yield f"{container['name']} has not one GPU for each rank"


def _patience(probe: Document) -> int:
    return int(probe["periodSeconds"]) * int(probe["failureThreshold"])


def _of_selectors(documents: Sequence[Document], pods: Sequence[tuple[str, Mapping[str, str], Document]]) -> Iterator[str]:
    serving = [labels for name, labels, _ in pods if name.startswith("Deployment ")]
    others = [labels for name, labels, _ in pods if not name.startswith("Deployment ")]
    for document in of_kind(documents, "Service", "PodDisruptionBudget"):
        selector = document["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        # Those of one engine: where there are two, each has its own.
        if sum(selector.items() <= labels.items() for labels in serving) != 1:
            yield f"{document['kind']} selects none of the release's pods, or those of two engines"
        if any(selector.items() <= labels.items() for labels in others):
            yield f"{document['kind']} selects pods that do not serve"
    policies = of_kind(documents, "NetworkPolicy")
    for name, labels, _ in pods if policies else ():
        own = [policy["spec"] for policy in policies if policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]
        if {kind for spec in own for kind in spec["policyTypes"]} != {"Ingress", "Egress"}:
            yield f"{name} is not shut in by a NetworkPolicy"


def _of_scaling(documents: Sequence[Document]) -> Iterator[str]:
    for deployment in (deployments := of_kind(documents, "Deployment")):
        name = deployment["metadata"]["name"]
        yield from _of_pods(
            deployment, [document for document in documents if len(deployments) == 1 or document["metadata"]["name"] == name]
        )


def _of_pods(deployment: Document, documents: Sequence[Document]) -> Iterator[str]:
    """Who says how many pods a Deployment has; `documents` are those of its engine."""
    scalers = of_kind(documents, "HorizontalPodAutoscaler", "ScaledObject")
    most = deployment["spec"].get("replicas", 1)
    if ("replicas" in deployment["spec"]) is bool(scalers):
        yield "the number of pods has two owners, or none"
    for scaler in scalers:
        spec = scaler["spec"]
        most = spec.get("maxReplicas", spec.get("maxReplicaCount"))
        if spec.get("minReplicas", spec.get("minReplicaCount")) < 1:
            yield f"{scaler['kind']} may take the last pod away"
        if spec["scaleTargetRef"] != {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}:
            yield f"{scaler['kind']} scales something else"
    budgets = of_kind(documents, "PodDisruptionBudget")
    if bool(budgets) is not (most > 1):
        yield "a single pod has a disruption budget, or several have none"
    if any(budget["spec"].get("maxUnavailable", 0) < 1 for budget in budgets):
        yield "PodDisruptionBudget lets no node be drained"


def _of_references(documents: Sequence[Document]) -> Iterator[str]:
    there = {(document["kind"], document["metadata"]["name"]) for document in documents}
    for name, _, spec in _pods(documents):
        wanted = {("ServiceAccount", spec["serviceAccountName"])}
        wanted |= {("ConfigMap", volume["configMap"]["name"]) for volume in spec.get("volumes", ()) if "configMap" in volume}
        for kind, missing in sorted(wanted - there):
            yield f"{name} needs {kind} {missing}, which is not there"
    backends = [path["backend"]["service"]["name"] for route in of_kind(documents, "Ingress") for path in _paths(route)]
    backends += [ref["name"] for route in of_kind(documents, "HTTPRoute") for rule in route["spec"]["rules"] for ref in rule["backendRefs"]]
    for backend in backends:
        if ("Service", backend) not in there:
            yield f"a route leads to Service {backend}, which is not there"


def _paths(ingress: Document) -> list[Any]:
    return [path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]


def _elsewhere(variable: dict[str, Any]) -> bool:
    """Whether a variable's value is from outside the chart; the engine's key alone may be."""
    return "valueFrom" in variable and (variable["name"] != "VLLM_API_KEY" or variable["valueFrom"].keys() != {"secretKeyRef"})
