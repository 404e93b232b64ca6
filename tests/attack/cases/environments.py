"""What an environment's file may set: nothing that opens its pods or the way to them; and what nodes may say of their GPUs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml

from blocks.cluster.gpu_labels import MEMORY, PRODUCT, REPLICAS, read_gpu_labels
from flows.errors import SpecInvalid
from flows.spec import Deployments
from tests.attack.case import attacks, refused


def _load(**changes: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "deployments"
        (root / "environments").mkdir(parents=True)
        said = {"name": "staging", "namespace": "llm-staging", "prefetch": {"image": f"a/b@sha256:{'0' * 64}"}, **changes}
        (root / "environments" / "staging.yaml").write_text(yaml.safe_dump(said))
        Deployments(root=root).environment("staging")


def _refuse_values(*texts: str) -> None:
    for text in texts:
        refused(SpecInvalid, _load, values=yaml.safe_load(text))


@attacks("No value gives a pod the host's network, processes, privileges, devices or another service account")
def host_and_privileges() -> None:
    _load(values={"replicas": 2})
    _refuse_values(
        "hostNetwork: true",
        "hostPID: true",
        "hostIPC: true",
        "serviceAccountName: cluster-admin",
        "automountServiceAccountToken: true",
        "runtimeClassName: runc",
        "securityContext: {privileged: true}",
        "security: {privileged: true, runAsUser: 2000, runAsGroup: 2000}",
        "security: {capabilities: [SYS_ADMIN]}",
        "security: {seccompProfile: {type: Unconfined}}",
        "security: {runAsUser: 0}",
        "resources: {limits: {vendor.com/fuse: 1}}",
        "priorityClassName: system-cluster-critical",
    )


@attacks("No value adds a container, a volume or a variable to a pod")
def additions() -> None:
    _refuse_values(
        "sidecars: [{image: evil}]",
        "initContainers: [{image: evil}]",
        "volumes: [{name: x, hostPath: {path: /}}]",
        "volumeMounts: [{name: x, mountPath: /x}]",
        "env: [{name: LD_PRELOAD, value: /tmp/x.so}]",
        "envFrom: [{secretRef: {name: hub-token}}]",
        "command: [sh]",
        "lifecycle: {postStart: {exec: {command: [sh]}}}",
    )


@attacks("An engine never gets the weights' claims, or folders of the node's own, to write in")
def mounts() -> None:
    _refuse_values(
        "compileCache: {claim: slipway-store}",
        "compileCache: {claim: slipway-weights}",
        "compileCache: {hostPath: /}",
        "compileCache: {hostPath: /var}",
        "compileCache: {hostPath: /etc/cron.d}",
        "compileCache: {hostPath: /var/lib/kubelet}",
        "compileCache: {hostPath: /var/lib/slipway}",
        "compileCache: {hostPath: /var/cache/../lib/kubelet}",
        "compileCache: {hostPath: /proc/1/root}",
        "compileCache: {hostPath: /run/containerd}",
    )
    store = {"image": f"a/b@sha256:{'0' * 64}", "store": "/data/weights"}
    refused(SpecInvalid, _load, prefetch=store, values={"compileCache": {"hostPath": "/data/weights/x"}})


@attacks("Network policies stay on, and let in neither the world nor a namespace that anybody can name")
def network() -> None:
    _refuse_values(
        "networkPolicy: {enabled: false}",
        "networkPolicy: {controlPlane: [0.0.0.0/0]}",
        "networkPolicy: {controlPlane: [0.0.0.0/1, 128.0.0.0/1]}",
        "networkPolicy: {controlPlane: ['::/1']}",
        "networkPolicy: {controlPlane: ['::ffff:0:0/96']}",
        "networkPolicy: {controlPlane: ['64:ff9b::/96']}",
        "networkPolicy: {controlPlane: ['2000::/3']}",
        "networkPolicy: {controlPlane: [8.0.0.0/6]}",
        "networkPolicy: {controlPlane: [not-a-range]}",
        "networkPolicy: {routers: [{namespaceLabels: {}, podLabels: {}}]}",
        "networkPolicy: {dns: [{namespaceLabels: {team: evil}, podLabels: {a: b}}]}",
        "networkPolicy: {egress: [{}]}",
    )


@attacks("Annotations and labels that make clusters act on a pod are refused: AppArmor, seccomp, Multus, CDI, sidecars, identities")
def annotations() -> None:
    for name in (
        "container.apparmor.security.beta.kubernetes.io/vllm",
        "seccomp.security.alpha.kubernetes.io/pod",
        "k8s.v1.cni.cncf.io/networks",
        "v1.multus-cni.io/default-network",
        "cdi.k8s.io/vendor",
        "io.kubernetes.cri-o.userns-mode",
        "io.katacontainers.config.hypervisor.path",
        "sidecar.istio.io/inject",
        "vault.hashicorp.com/agent-inject",
        "instrumentation.opentelemetry.io/inject-python",
        "cni.projectcalico.org/ipAddrs",
        "iam.amazonaws.com/role",
    ):
        refused(SpecInvalid, _load, values={"podAnnotations": {name: "x"}})
    for name in ("azure.workload.identity/use", "sidecar.istio.io/inject", "app.kubernetes.io/name", "slipway.dev/candidate"):
        refused(SpecInvalid, _load, values={"podLabels": {name: "true"}})


@attacks("A way in from outside has no snippet, rewrite, redirect, mirror or other host")
def routes() -> None:
    nginx = (
        "configuration-snippet",
        "server-snippet",
        "auth-url",
        "rewrite-target",
        "mirror-target",
        "server-alias",
        "permanent-redirect",
        "upstream-vhost",
    )
    for name in (
        *(f"nginx.ingress.kubernetes.io/{end}" for end in nginx),
        "traefik.ingress.kubernetes.io/router.middlewares",
        "haproxy.org/backend-config-snippet",
    ):
        refused(SpecInvalid, _load, values={"route": {"annotations": {name: "x"}}})


@attacks("What the pipeline decides is not overwritten by an environment's values")
def overwritten() -> None:
    _refuse_values(
        "engine: {extraArgs: [--trust-remote-code]}",
        "engine: {variables: {VLLM_PLUGINS: x}}",
        "image: {digest: 'sha256:0'}",
        "image: {repository: evil}",
        "weights: {check: null}",
        "weights: {folder: evil}",
        "model: {name: other}",
        "candidate: {fingerprint: x}",
        "nodeSelector: {a: b}",
        "tolerations: [{operator: Exists}]",
    )


@attacks("Pods go to no node that nobody named, and to no namespace of the cluster's own")
def places() -> None:
    refused(SpecInvalid, _load, tolerations=[{"key": "", "operator": "Exists"}])
    refused(SpecInvalid, _load, node_selector={})
    for namespace in ("kube-system", "default"):
        refused(SpecInvalid, _load, namespace=namespace)


@attacks("No difference that is ignored hides another engine, or reaches beyond fields of objects")
def ignored_differences() -> None:
    def load(*pointers: str) -> None:
        _load(ignore_differences=[{"kind": "Deployment", "group": "apps", "json_pointers": list(pointers)}])

    load("/spec/template/spec/priority", "/spec/template/spec/containers/1", "/metadata/annotations/example.com~1injected")
    engine = "/spec/template/spec/containers/0/image"
    parts = engine.split("/")
    for pointer in ("/".join(parts[:length]) for length in range(2, len(parts) + 1)):
        refused(SpecInvalid, load, pointer)
    for pointer in ("", "/", "/status", "/secretsx", "/data/x", "spec/x", "/spec//x", "/spec/~2", "/spec/x\n", f"/spec/{'x' * 300}"):
        refused(SpecInvalid, load, pointer)
    refused(SpecInvalid, load)
    refused(SpecInvalid, _load, ignore_differences=[{"kind": "Deployment; rm", "json_pointers": ["/spec/x"]}])


@attacks("A Secret that images are pulled with is named by a name")
def pull_secrets() -> None:
    _load(values={"image": {"pullSecrets": ["registry", "mirror.internal"]}})
    for names in ("registry", [{"name": "registry"}], [1], [None], [True], ["../registry"], ["Registry"], [""], ["x" * 300], {"a": "b"}):
        refused(SpecInvalid, _load, values={"image": {"pullSecrets": names}})


@attacks("No number of an environment's file is without end")
def numbers() -> None:
    endless = float("inf")
    for changes in (
        {"gpu_memory_gib": endless},
        {"latency": {"p50_seconds": endless}},
        {"prefetch": {"image": f"a/b@sha256:{'0' * 64}", "disk_gib": endless}},
    ):
        refused(SpecInvalid, _load, **changes)


@attacks("A label that cannot be a GPU's memory is believed by nobody")
def labels_of_gpus() -> None:
    for said in ("80", "0", "-1", "1e9", "NaN", "٨١٥٥٩", "9" * 63, "83886080", ""):
        assert read_gpu_labels({MEMORY: said, PRODUCT: "NVIDIA-H100"}).memory_bytes is None, said
    whole = read_gpu_labels({MEMORY: "40960", PRODUCT: "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"})
    assert whole.memory_bytes is None, "the whole GPU's memory counts for a slice"
    shared = read_gpu_labels({MEMORY: "40960", PRODUCT: "NVIDIA-A100-SHARED", REPLICAS: "0"})
    assert shared.memory_bytes is None, "a GPU that is shared by nobody knows how many counts in full"
