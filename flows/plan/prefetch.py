"""The Kubernetes Job that brings a candidate's files to one node."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flows.plan.naming import prefetch_job_name
from flows.plan.snapshot import snapshot_digest
from flows.spec import Candidate, Environment

#: Where the Job's container finds its request, the store and the token.
REQUEST_FOLDER = "/etc/slipway/prefetch"
STORE_MOUNT = "/store"
TOKEN_FOLDER = "/run/secrets/slipway-hub"  # noqa: S105  # a path, not a token
HOME_MOUNT = "/home/slipway"


def prefetch_files(candidate: Candidate, keep: Sequence[str] = ()) -> dict[str, str]:
    """The ConfigMap's files: what to fetch, with the hash of each file, and the snapshots that must not be removed for it."""
    request = {
        "repository": candidate.repository,
        "commit": candidate.commit,
        "files": [asdict(file) for file in candidate.files],
        "keep": sorted(keep),
    }
    return {"request.json": json.dumps(request, sort_keys=True)}


def snapshot_digest_of(candidate: Candidate) -> str:
    """The hash of everything that must lie in the candidate's folder on a node."""
    return snapshot_digest(candidate.repository, candidate.commit, candidate.files)


def prefetch_job(candidate: Candidate, environment: Environment, node: str, run_id: str, hub_endpoint: str) -> dict[str, Any]:
    """The Job's manifest. It runs on that very node, tries once (the task retries), and tidies itself up after an hour."""
    policy = environment.prefetch
    name = prefetch_job_name(run_id, candidate.fingerprint, node)
    labels = {
        "app.kubernetes.io/name": "slipway-prefetch",
        "app.kubernetes.io/managed-by": "slipway",
        "slipway.dev/candidate": candidate.label,
        "slipway.dev/environment": environment.name,
    }
    environment_variables = [
        {"name": "HF_ENDPOINT", "value": hub_endpoint},
        {"name": "HF_HOME", "value": f"{HOME_MOUNT}/huggingface"},
        {"name": "HOME", "value": HOME_MOUNT},
        {"name": "HF_HUB_DISABLE_TELEMETRY", "value": "1"},
        {"name": "HF_HUB_DISABLE_PROGRESS_BARS", "value": "1"},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "request", "mountPath": REQUEST_FOLDER, "readOnly": True},
        {"name": "store", "mountPath": STORE_MOUNT},
        {"name": "home", "mountPath": HOME_MOUNT},
    ]
    volumes: list[dict[str, Any]] = [
        {"name": "request", "configMap": {"name": name}},
        {"name": "store", "hostPath": {"path": policy.store, "type": "DirectoryOrCreate"}},
        {"name": "home", "emptyDir": {}},
    ]
    if policy.token_secret is not None:
        environment_variables.append({"name": "HF_TOKEN_PATH", "value": f"{TOKEN_FOLDER}/token"})
        mounts.append({"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True})
        volumes.append({"name": "token", "secret": {"secretName": policy.token_secret, "defaultMode": 0o400}})
    container = {
        "name": "prefetch",
        "image": policy.image,
        "args": ["fetch", "--request", f"{REQUEST_FOLDER}/request.json", "--store", STORE_MOUNT],
        "env": environment_variables,
        "volumeMounts": mounts,
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        # The store's folder belongs to root on the node, and the kubelet does not change a hostPath's owner.
        "securityContext": {
            "runAsUser": 0,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    on_this_node = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [on_this_node]}}},
        "tolerations": [{key: value for key, value in asdict(t).items() if value != ""} for t in environment.tolerations],
        "containers": [container],
        "volumes": volumes,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(policy.timeout_seconds),
            "ttlSecondsAfterFinished": 3600,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
