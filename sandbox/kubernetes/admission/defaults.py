"""The values that Kubernetes fills in where a client leaves a field out, so that clients read back what they would on a real cluster.

Not emulated: defaults of volume plugins, of admission webhooks, and of features that are off by default.
"""

from __future__ import annotations

from collections.abc import Callable

from sandbox.kubernetes.admission.pod_defaults import containers_of, fill, pod_spec
from sandbox.kubernetes.admission.store import JSON
from sandbox.kubernetes.meta.values import dig


def apply_defaults(obj: JSON) -> JSON:
    """Fill in the defaults of an object's kind, in place; return it."""
    fill = _BY_KIND.get((obj.get("apiVersion", "").partition("/")[0] if "/" in obj.get("apiVersion", "") else "", obj.get("kind", "")))
    if fill is not None:
        fill(obj)
    return obj


def _template(obj: JSON) -> None:
    template = obj.setdefault("spec", {}).setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))


def _pod(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    pod_spec(spec)
    fill(spec, enableServiceLinks=True)
    for condition in dig(obj, "status", "conditions", default=[]):
        # Written even without a value; so are the times of events.
        fill(condition, lastProbeTime=None, lastTransitionTime=None)
    for container in containers_of(spec):
        resources = container["resources"]
        if resources.get("limits"):
            requests = resources.setdefault("requests", {})
            for name, amount in resources["limits"].items():
                requests.setdefault(name, amount)


def _event(obj: JSON) -> None:
    fill(obj, firstTimestamp=None, lastTimestamp=None, eventTime=None, source={}, reportingComponent="", reportingInstance="")
    if not obj["reportingComponent"]:
        obj["reportingComponent"] = obj["source"].get("component", "")


def _deployment(obj: JSON) -> None:
    _template(obj)
    spec = obj["spec"]
    fill(spec, replicas=1, strategy={}, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec["strategy"]
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy.setdefault("rollingUpdate", {}), maxUnavailable="25%", maxSurge="25%")


def _replica_set(obj: JSON) -> None:
    _template(obj)
    fill(obj["spec"], replicas=1)
    _labels_of_template(obj)


def _labels_of_template(obj: JSON) -> None:
    labels = dig(obj, "spec", "template", "metadata", "labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def _stateful_set(obj: JSON) -> None:
    _template(obj)
    spec = obj["spec"]
    fill(spec, replicas=1, podManagementPolicy="OrderedReady", revisionHistoryLimit=10, updateStrategy={})
    fill(spec, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"})
    fill(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        fill(spec["updateStrategy"].setdefault("rollingUpdate", {}), partition=0)


def _daemon_set(obj: JSON) -> None:
    _template(obj)
    fill(obj["spec"], revisionHistoryLimit=10, updateStrategy={})
    strategy = obj["spec"]["updateStrategy"]
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy.setdefault("rollingUpdate", {}), maxUnavailable=1, maxSurge=0)


def _job(obj: JSON) -> None:
    _template(obj)
    job_spec(obj["spec"])
    _labels_of_template(obj)


def job_spec(spec: JSON) -> None:
    """The defaults of a Job's own fields."""
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    fill(spec, parallelism=1, completionMode="NonIndexed", suspend=False, manualSelector=False)
    fill(spec, backoffLimit=2**31 - 1 if "backoffLimitPerIndex" in spec else 6)
    fill(spec, podReplacementPolicy="Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")


def _cron_job(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    template = spec.setdefault("jobTemplate", {})
    template.setdefault("metadata", {})
    job = template.setdefault("spec", {}).setdefault("template", {})
    job.setdefault("metadata", {})
    pod_spec(job.setdefault("spec", {}))


def _service(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, type="ClusterIP", sessionAffinity="None")
    for port in spec.get("ports", ()):
        fill(port, protocol="TCP")
        if "port" in port:
            fill(port, targetPort=port["port"])
    if spec["type"] != "ExternalName":
        fill(spec, internalTrafficPolicy="Cluster")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        fill(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        fill(spec, allocateLoadBalancerNodePorts=True)
    if spec["sessionAffinity"] == "ClientIP":
        fill(spec, sessionAffinityConfig={"clientIP": {"timeoutSeconds": 10800}})


def _namespace(obj: JSON) -> None:
    metadata = obj["metadata"]
    if metadata.get("name"):
        metadata["labels"] = {**metadata.get("labels", {}), "kubernetes.io/metadata.name": metadata["name"]}


def _secret(obj: JSON) -> None:
    fill(obj, type="Opaque")


def _claim(obj: JSON) -> None:
    fill(obj.setdefault("spec", {}), volumeMode="Filesystem")
    fill(obj.setdefault("status", {}), phase="Pending")


def _volume_object(obj: JSON) -> None:
    fill(obj.setdefault("spec", {}), volumeMode="Filesystem", persistentVolumeReclaimPolicy="Retain")
    if "hostPath" in obj["spec"]:
        fill(obj["spec"]["hostPath"], type="")


def _network_policy(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, podSelector={})
    fill(spec, policyTypes=["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    for rule in [*spec.get("ingress", ()), *spec.get("egress", ())]:
        for port in rule.get("ports", ()):
            fill(port, protocol="TCP")


def _endpoints(obj: JSON) -> None:
    for subset in obj.get("subsets", ()):
        for port in subset.get("ports", ()):
            fill(port, protocol="TCP")


def _endpoint_slice(obj: JSON) -> None:
    for port in obj.get("ports") or ():
        fill(port, name="", protocol="TCP")


def _binding(obj: JSON) -> None:
    fill(obj.get("roleRef", {}), apiGroup="rbac.authorization.k8s.io")
    for subject in obj.get("subjects", ()):
        if subject.get("kind") in ("User", "Group"):
            fill(subject, apiGroup="rbac.authorization.k8s.io")


def _limit_range(obj: JSON) -> None:
    for item in dig(obj, "spec", "limits", default=[]):
        if item.get("type") == "Container":
            for name, amount in item.get("max", {}).items():
                item.setdefault("default", {}).setdefault(name, amount)
            for source in ("default", "min"):
                for name, amount in item.get(source, {}).items():
                    item.setdefault("defaultRequest", {}).setdefault(name, amount)


def _autoscaler(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, minReplicas=1)
    utilization = {"type": "Utilization", "averageUtilization": 80}
    fill(spec, metrics=[{"type": "Resource", "resource": {"name": "cpu", "target": utilization}}])


def _priority_class(obj: JSON) -> None:
    fill(obj, preemptionPolicy="PreemptLowerPriority")


def _storage_class(obj: JSON) -> None:
    fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _definition(obj: JSON) -> None:
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if names.get("kind"):
        fill(names, singular=names["kind"].lower(), listKind=f"{names['kind']}List")
    fill(spec, conversion={"strategy": "None"})


def _token_request(obj: JSON) -> None:
    fill(obj.setdefault("spec", {}), expirationSeconds=3600)


_BY_KIND: dict[tuple[str, str], Callable[[JSON], None]] = {
    ("", "Pod"): _pod,
    ("", "Event"): _event,
    ("", "Service"): _service,
    ("", "Namespace"): _namespace,
    ("", "Secret"): _secret,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "PersistentVolume"): _volume_object,
    ("", "Endpoints"): _endpoints,
    ("", "LimitRange"): _limit_range,
    ("", "ReplicationController"): _replica_set,
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    ("discovery.k8s.io", "EndpointSlice"): _endpoint_slice,
    ("rbac.authorization.k8s.io", "RoleBinding"): _binding,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _binding,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("scheduling.k8s.io", "PriorityClass"): _priority_class,
    ("storage.k8s.io", "StorageClass"): _storage_class,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("authentication.k8s.io", "TokenRequest"): _token_request,
}
