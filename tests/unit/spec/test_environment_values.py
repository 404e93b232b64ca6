"""No value of an environment's file opens its pods, or the way to them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flows.naming import STORE_CLAIM, WEIGHTS_CLAIM
from flows.spec.environment_values import WEIGHTS_CLAIMS, problems

STORE = "/var/lib/slipway"


def found(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [(".".join(map(str, place)), problem) for place, problem in problems(values, STORE)]


@pytest.mark.parametrize(
    ("values", "place", "says"),
    [
        ("hostNetwork: true", "hostNetwork", "docs/deployments.md"),
        ("hostPID: true", "hostPID", ""),
        ("serviceAccountName: default", "serviceAccountName", ""),
        ("runtimeClassName: runc", "runtimeClassName", ""),
        ("extraContainers: [{name: sidecar}]", "extraContainers", ""),
        ("volumes: [{hostPath: {path: /}}]", "volumes", ""),
        ("env: [{name: LD_PRELOAD, value: /tmp/x.so}]", "env", ""),
        ("envFrom: [{secretRef: {name: hub-token}}]", "envFrom", ""),
        ("security: {privileged: true}", "security.privileged", ""),
        ("security: {capabilities: {add: [SYS_ADMIN]}}", "security.capabilities", ""),
        ("security: {seccompProfile: {type: Unconfined}}", "security.seccompProfile", ""),
        ("security: {runAsUser: 0}", "security.runAsUser", "never root"),
        ("security: {runAsGroup: true}", "security.runAsGroup", "never root"),
        ("engine: {extraArgs: [--trust-remote-code]}", "engine", "set engine in the model's file instead"),
        ("image: {digest: 'sha256:0'}", "image.digest", "set image in the model's file instead"),
        ("image: latest", "image", "must be a mapping"),
        ("image: {pullSecrets: registry}", "image.pullSecrets", "must be a list of Secrets' names"),
        ("image: {pullSecrets: [123]}", "image.pullSecrets.0", "must be a Secret's name"),
        ("image: {pullSecrets: [{name: registry}]}", "image.pullSecrets.0", "must be a Secret's name"),
        ("weights: {claim: mine}", "weights", "it is the candidate's"),
        ("nodeSelector: {a: b}", "nodeSelector", "set node_selector instead"),
        ("tolerations: []", "tolerations", "set tolerations of the environment instead"),
        ("rollout: {strategy: recreate}", "rollout", "set rollout.strategy of the environment instead"),
        ("compileCache: {claim: slipway-store}", "compileCache.claim", "name slipway-compiled"),
        ("compileCache: {claim: slipway-weights}", "compileCache.claim", "name slipway-compiled"),
        ("compileCache: {hostPath: /}", "compileCache.hostPath", "two folders at the least"),
        ("compileCache: {hostPath: /var}", "compileCache.hostPath", "two folders at the least"),
        ("compileCache: {hostPath: cache/x}", "compileCache.hostPath", "must be a whole path"),
        ("compileCache: {hostPath: /var/cache/../lib/kubelet}", "compileCache.hostPath", "without . and .."),
        ("compileCache: {hostPath: //etc/x}", "compileCache.hostPath", "must be a whole path"),
        ("compileCache: {hostPath: /etc/kubernetes}", "compileCache.hostPath", "the node's own system"),
        ("compileCache: {hostPath: /var/lib/kubelet/pods}", "compileCache.hostPath", "the node's own system"),
        ("compileCache: {hostPath: /run/containerd}", "compileCache.hostPath", "the node's own system"),
        ("resources: {limits: {smarter-devices/fuse: 1}}", "resources.limits.smarter-devices/fuse", "no other device"),
        ("priorityClassName: system-node-critical", "priorityClassName", "a class of your own"),
        ("networkPolicy: {enabled: false}", "networkPolicy.enabled", "must be true"),
        ("networkPolicy: {enabled: null}", "networkPolicy.enabled", "must be true"),
        ("networkPolicy: {egress: []}", "networkPolicy.egress", ""),
        ("networkPolicy: {controlPlane: [0.0.0.0/1, 128.0.0.0/1]}", "networkPolicy.controlPlane.0", "half the world"),
        ("networkPolicy: {controlPlane: [0.0.0.0/0]}", "networkPolicy.controlPlane.0", "half the world"),
        ("networkPolicy: {controlPlane: [52.0.0.0/8]}", "networkPolicy.controlPlane.0", "half the world"),
        ("networkPolicy: {controlPlane: ['::/1']}", "networkPolicy.controlPlane.0", "IPv4"),
        ("networkPolicy: {controlPlane: ['2600::/12']}", "networkPolicy.controlPlane.0", "half the world"),
        ("networkPolicy: {controlPlane: ['::ffff:0:0/96']}", "networkPolicy.controlPlane.0", "stands for IPv4 addresses"),
        ("networkPolicy: {controlPlane: ['64:ff9b::/96']}", "networkPolicy.controlPlane.0", "stands for IPv4 addresses"),
        ("networkPolicy: {controlPlane: [999.1.1.1/24]}", "networkPolicy.controlPlane.0", "must be an address range"),
        ("networkPolicy: {controlPlane: [10.0.0.7/24]}", "networkPolicy.controlPlane.0", "must be an address range"),
        ("networkPolicy: {controlPlane: [4]}", "networkPolicy.controlPlane.0", "must be an address range"),
        (
            "networkPolicy: {routers: [{namespaceLabels: {team: a}, podLabels: {app: x}}]}",
            "networkPolicy.routers.0.namespaceLabels",
            "kubernetes.io/metadata.name",
        ),
        (
            "networkPolicy: {dns: [{namespaceLabels: {}, podLabels: {a: b}}]}",
            "networkPolicy.dns.0.namespaceLabels",
            "must name the namespace",
        ),
        ("podAnnotations: {k8s.v1.cni.cncf.io/networks: macvlan}", "podAnnotations.k8s.v1.cni.cncf.io/networks", "whom it talks to"),
        ("podAnnotations: {v1.multus-cni.io/default-network: x}", "podAnnotations.v1.multus-cni.io/default-network", ""),
        (
            "podAnnotations: {container.apparmor.security.beta.kubernetes.io/vllm: unconfined}",
            "podAnnotations.container.apparmor.security.beta.kubernetes.io/vllm",
            "what the pod may do",
        ),
        (
            "podAnnotations: {seccomp.security.alpha.kubernetes.io/pod: unconfined}",
            "podAnnotations.seccomp.security.alpha.kubernetes.io/pod",
            "",
        ),
        ("podAnnotations: {sidecar.istio.io/inject: 'true'}", "podAnnotations.sidecar.istio.io/inject", ""),
        ("podAnnotations: {vault.hashicorp.com/agent-inject: 'true'}", "podAnnotations.vault.hashicorp.com/agent-inject", ""),
        ("podAnnotations: {io.kubernetes.cri-o.Devices: /dev/mem}", "podAnnotations.io.kubernetes.cri-o.Devices", ""),
        ("podAnnotations: {cdi.k8s.io/x: vendor.com/device=all}", "podAnnotations.cdi.k8s.io/x", ""),
        ("podAnnotations: [a]", "podAnnotations", "must be a mapping"),
        ("podLabels: {azure.workload.identity/use: 'true'}", "podLabels.azure.workload.identity/use", "taken for another one"),
        ("podLabels: {app.kubernetes.io/name: slipway-prefetch}", "podLabels.app.kubernetes.io/name", "taken for another one"),
        (
            "route: {annotations: {nginx.ingress.kubernetes.io/configuration-snippet: 'x'}}",
            "route.annotations.nginx.ingress.kubernetes.io/configuration-snippet",
            "send requests elsewhere",
        ),
        (
            "route: {annotations: {external-dns.alpha.kubernetes.io/target: elsewhere.example}}",
            "route.annotations.external-dns.alpha.kubernetes.io/target",
            "",
        ),
        (
            "route: {annotations: {nginx.ingress.kubernetes.io/rewrite-target: /}}",
            "route.annotations.nginx.ingress.kubernetes.io/rewrite-target",
            "",
        ),
        (
            "route: {annotations: {nginx.ingress.kubernetes.io/server-alias: x}}",
            "route.annotations.nginx.ingress.kubernetes.io/server-alias",
            "",
        ),
        ("route: {annotations: {anything: x}}", "route.annotations.anything", ""),
    ],
)
def test_what_weakens_an_environment_is_named(values: str, place: str, says: str) -> None:
    first, problem = found(yaml.safe_load(values))[0]

    assert first == place
    assert says in problem
    assert problem.endswith(".")


def test_the_claims_of_the_weights_are_those_of_the_chart() -> None:
    assert WEIGHTS_CLAIMS == (STORE_CLAIM, WEIGHTS_CLAIM)


def test_a_cache_beside_or_above_the_weights_is_refused_wherever_these_lie() -> None:
    for folder in ("/data/weights", "/data/weights/cache", "/data/weights/"):
        assert list(problems({"compileCache": {"hostPath": folder}}, "/data/weights"))
    assert list(problems({"compileCache": {"hostPath": "/data/store"}}, "/data/store/weights"))
    assert not list(problems({"compileCache": {"hostPath": "/data/weights-cache"}}, "/data/weights"))


def test_what_an_environment_needs_passes() -> None:
    usual = """
    replicas: 2
    autoscaling: {kind: keda, prometheus: "http://prometheus.monitoring:9090"}
    resources: {requests: {cpu: 8, memory: 32Gi}, limits: {cpu: 16, memory: 48Gi, nvidia.com/gpu: 1}}
    image: {pullPolicy: Always, pullSecrets: [registry]}
    priorityClassName: serving
    compileCache: {claim: slipway-compiled}
    security: {runAsUser: 65532, runAsGroup: 65532}
    podLabels: {team: search, app.kubernetes.io/component: engine, kueue.x-k8s.io/queue-name: gpus}
    podAnnotations: {cost-centre: "4711", prometheus.io/scrape: "true"}
    networkPolicy:
      enabled: true
      routers: [{namespaceLabels: {kubernetes.io/metadata.name: gateway}, podLabels: {app: gateway}}]
      controlPlane: [192.0.2.16/28, 10.0.0.0/8, 35.190.0.1/32, "fd00::/8", "2001:db8::/64"]
    route: {kind: ingress, host: a.example.com, annotations: {nginx.ingress.kubernetes.io/proxy-read-timeout: "600"}}
    preStopSleepSeconds: 5
    """

    assert found(yaml.safe_load(usual)) == []
    assert found({"compileCache": {"hostPath": "/var/cache/slipway"}}) == []


_WORDS = [
    "compileCache",
    "hostPath",
    "claim",
    "networkPolicy",
    "controlPlane",
    "routers",
    "podLabels",
    "security",
    "resources",
    "route",
    "annotations",
]


@given(
    values=st.dictionaries(
        st.sampled_from(_WORDS),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=6) | st.booleans(),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(_WORDS) | st.integers(), inner, max_size=3),
            max_leaves=6,
        ),
        max_size=4,
    )
)
def test_no_values_make_a_traceback(values: dict[str, Any]) -> None:
    assert all(problem for _, problem in problems(values, STORE))
