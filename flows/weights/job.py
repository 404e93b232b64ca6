"""The Kubernetes Job that runs Slipway's own program (`flows.node`) on one node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flows.naming import STORE_CLAIM
from flows.spec import Environment

#: The label of the flow run that made it.
RUN_LABEL = "slipway.dev/run"

#: Where its container finds what it is asked for, and the store.
REQUEST_FOLDER = "/etc/slipway/request"
STORE_MOUNT = "/store"

#: User and group of its program, the same on every node: the store's folders are theirs. Not the engine's: that only reads.
USER = 65532

#: How much later the Job ends than those who wait for it, in seconds: longer than their retries after it was lost.
SPARE_SECONDS = 300


def node_job(
    name: str,
    labels: dict[str, str],
    environment: Environment,
    node: str,
    run_id: str,
    container: dict[str, Any],
    volumes: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The Job's manifest. It runs on that very node, tries once (the task retries), and tidies itself up after an hour.

    Args:
        name: Its name.
        labels: What else its pods are labelled with.
        environment: Where, with which image, for how long, past which taints.
        node: The node's name.
        run_id: The flow run that makes it.
        container: What the container has beside image, store and security context.
        volumes: What it mounts beside the store.
    """
    policy = environment.prefetch
    labels = {"app.kubernetes.io/managed-by": "slipway", "slipway.dev/environment": environment.name, RUN_LABEL: run_id, **labels}
    container = {
        **container,
        "image": policy.image,
        "volumeMounts": [{"name": "store", "mountPath": STORE_MOUNT}, *container.get("volumeMounts", ())],
        # The last words are in the pod's status, too, where they can be read when the log cannot.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }
    # Not `nodeName`, which goes around the scheduler; and by the node's name, which its hostname label need not be.
    on_this_node = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    pod = {
        "restartPolicy": "Never",
        # The program asks the hub and the disk, never the cluster.
        "automountServiceAccountToken": False,
        # Or every Service of the namespace would become variables of its environment.
        "enableServiceLinks": False,
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [on_this_node]}}},
        "tolerations": [{key: value for key, value in asdict(t).items() if value != ""} for t in environment.tolerations],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            # The kubelet gives the store to this group when it mounts it for the first time, and looks at no file after that.
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"imagePullSecrets": [{"name": name} for name in environment.pull_secrets]} if environment.pull_secrets else {}),
        "containers": [container],
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": STORE_CLAIM}}, *volumes],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            # Later than whoever waits for it gives up, and reads why it did not end: `DeadlineExceeded` only tells that it did not. It is
            # for a Job that nobody waits for any longer.
            "activeDeadlineSeconds": int(policy.timeout_seconds) + SPARE_SECONDS,
            "ttlSecondsAfterFinished": 3600,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
