"""The Job that brings a candidate's files to one node, and what is not removed for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from blocks.facts.cluster import PREFETCH
from flows.naming import SHARE_PORT, prefetch_job_name, share_name
from flows.node.layout import snapshot_digest, snapshot_folder
from flows.spec import Candidate, Environment
from flows.weights.job import REQUEST_FOLDER, STORE_MOUNT, node_job

#: Where the Job's container finds the token, and where it may write.
TOKEN_FOLDER = "/run/secrets/slipway-hub"  # noqa: S105  # a path, not a token
HOME_MOUNT = "/home/slipway"

#: Where the Job's container finds the key that nodes know each other by.
SHARE_FOLDER = "/run/secrets/slipway-share"

#: The label by which the Jobs of one prefetch find each other.
GROUP_LABEL = "slipway.dev/group"

#: Entries with these statuses serve, or are about to: their snapshots stay on the nodes, as does each model's previous one.
KEPT_STATUSES: tuple[Literal["deploying", "ready", "degraded"], ...] = ("deploying", "ready", "degraded")


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
    return snapshot_digest(candidate.repository, candidate.commit, ((file.path, file.size_bytes, file.digest) for file in candidate.files))


def shares(environment: Environment, nodes: Sequence[str]) -> bool:
    """Whether these nodes share one download."""
    return environment.prefetch.share and len(nodes) > 1


def prefetch_job(
    candidate: Candidate,
    environment: Environment,
    node: str,
    run_id: str,
    hub_endpoint: str,
    *,
    nodes: Sequence[str] = (),
    gives: bool = False,
) -> dict[str, Any]:
    """The Job's manifest; the same run asks for the same Job again.

    Args:
        candidate: What is brought.
        environment: Where.
        node: The node.
        run_id: The flow run that makes it.
        hub_endpoint: The hub's address.
        nodes: All nodes that share it, this one among them; none if nobody does.
        gives: Whether the node fetches nothing, and gives what it has.
    """
    policy = environment.prefetch
    name = prefetch_job_name(run_id, candidate.fingerprint, node)
    variables: list[dict[str, Any]] = [
        {"name": "HF_ENDPOINT", "value": hub_endpoint},
        # The root file system is read-only, and the library of the hub's own store (xet) writes logs.
        {"name": "HF_HOME", "value": f"{HOME_MOUNT}/huggingface"},
        {"name": "HOME", "value": HOME_MOUNT},
        # Without it each process first asks for something else (a time-out of 3 s; huggingface_hub 2.4.0).
        {"name": "HF_HUB_DISABLE_TELEMETRY", "value": "1"},
        # The flow reads the log's last line, and a bar is no JSON.
        {"name": "HF_HUB_DISABLE_PROGRESS_BARS", "value": "1"},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "request", "mountPath": REQUEST_FOLDER, "readOnly": True},
        {"name": "home", "mountPath": HOME_MOUNT},
    ]
    volumes: list[dict[str, Any]] = [{"name": "request", "configMap": {"name": name}}, {"name": "home", "emptyDir": {}}]
    if policy.token_secret is not None:
        # A mounted file: a variable could be read off the pod's spec or its process.
        variables.append({"name": "HF_TOKEN_PATH", "value": f"{TOKEN_FOLDER}/token"})
        mounts.append({"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True})
        # With `fsGroup` the kubelet lets the program's group read it as well; seen with 1.36.
        volumes.append({"name": "token", "secret": {"secretName": policy.token_secret, "defaultMode": 0o400}})
    labels = {"app.kubernetes.io/name": "slipway-prefetch", "slipway.dev/candidate": candidate.label}
    sharing: tuple[str, ...] = ()
    if shares(environment, nodes):
        group = share_name(run_id, candidate.fingerprint, environment.name)
        labels[GROUP_LABEL] = group
        variables.append({"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
        sharing = _share_arguments(environment, group, sorted(nodes).index(node), len(nodes))
        sharing += ("--give-only",) if gives else ()
        mounts.append({"name": "share", "mountPath": SHARE_FOLDER, "readOnly": True})
        # Read by the program's group, as the token is.
        volumes.append({"name": "share", "secret": {"secretName": group, "defaultMode": 0o400}})
    container = {
        "name": PREFETCH,
        "args": [
            *("fetch", "--request", f"{REQUEST_FOLDER}/request.json", "--store", STORE_MOUNT),
            *("--reserve-percent", f"{policy.reserve_percent:g}"),
            # `keep` is as old as the Job at most: whatever another release brought since then is younger than that.
            *("--fresh-seconds", f"{policy.timeout_seconds:g}"),
            # The Job's own end: a pause beyond it is refused with a sentence, and not cut off.
            *("--deadline-seconds", f"{policy.timeout_seconds:g}"),
            *sharing,
        ],
        "env": variables,
        "volumeMounts": mounts,
        # Peak memory was measured at 105 MB; the library of the hub's own store (xet), which brings the largest files, needs more.
        "resources": {"requests": {"cpu": "100m" if gives else "1", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
    }
    return node_job(name, labels, environment, node, run_id, container, volumes)


def _share_arguments(environment: Environment, group: str, rank: int, nodes: int) -> tuple[str, ...]:
    mbit = environment.prefetch.share_mbit
    return (
        *("--share-secret", SHARE_FOLDER, "--share-rank", str(rank), "--share-nodes", str(nodes)),
        # The addresses of all their pods: by a headless Service, as none of them may ask the API server.
        *("--share-with", f"{group}.{environment.namespace}.svc:{SHARE_PORT}", "--share-bind", f"$(POD_IP):{SHARE_PORT}"),
        *(("--share-mbit", f"{mbit:g}") if mbit is not None else ()),
    )


def mount_path(candidate: Candidate) -> str:
    """Where the engine's container has the snapshot. It names the commit, so `/v1/models` shows as `root` which one is served."""
    return f"/{snapshot_folder(candidate.repository, candidate.commit)}"


def served_path(candidate: Candidate) -> str:
    """The folder that the engine serves: the snapshot's, or the one below it that holds the model."""
    return f"{mount_path(candidate)}/{candidate.subfolder}" if candidate.subfolder else mount_path(candidate)
