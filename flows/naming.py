"""Names on the cluster: DNS-safe, short enough, and never one name for two models."""

from __future__ import annotations

import hashlib
import re
from typing import Literal

from flows.errors import SpecInvalid

#: Helm's own limit for a release name; Kubernetes allows a Service 63.
MAX_RELEASE_NAME = 53

#: The port that every endpoint serves on.
PORT = 8000

#: The port on which the Jobs of one prefetch speak to each other; `charts/environment` lets them.
SHARE_PORT = 8444

#: The claims that `charts/environment` puts into an environment's namespace: the nodes' weights, to write and only to read.
STORE_CLAIM = "slipway-store"
WEIGHTS_CLAIM = "slipway-weights"

#: One of the two places for an engine in a release of the chart: it stays in it for as long as it lives.
Slot = Literal["a", "b"]

_HASH_LENGTH = 8
_LOOKS_HASHED = re.compile(rf"-[0-9a-f]{{{_HASH_LENGTH}}}$")


def release_name(model: str, environment: str) -> str:
    """The Helm release's and Service's name, `{model}-{environment}`.

    A model name that is a short DNS label already is used as it is. Any other is made one (lower case, hyphens), cut, and
    marked with eight hex digits of its SHA-256, as are names that look so marked: two models never get one name.

    Raises:
        SpecInvalid: Nothing of the model's name can be used.
    """
    room = MAX_RELEASE_NAME - len(environment) - 1
    slug = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    if not slug:
        raise SpecInvalid(f"The model name {model!r} has no letter or digit that a DNS label could hold; choose another name.")
    if slug[0].isdigit():
        slug = f"m-{slug}"  # a Service's name must begin with a letter
    if slug != model or len(slug) > room or _LOOKS_HASHED.search(slug):
        digest = hashlib.sha256(model.encode()).hexdigest()[:_HASH_LENGTH]
        slug = f"{slug[: room - _HASH_LENGTH - 1].rstrip('-')}-{digest}"
    return f"{slug}-{environment}"


def engine_name(release: str, slot: Slot) -> str:
    """Deployment of the engine that lies in the slot, and the instance label of its pods; as the chart has it (`_engines.tpl`)."""
    return release if slot == "a" else f"{release}-b"


def other_slot(slot: Slot) -> Slot:
    """The slot beside it."""
    return "b" if slot == "a" else "a"


def slot_of(engine: str, release: str) -> Slot:
    """The slot of an engine of the release, by its name or its pods' instance label."""
    return "b" if engine == engine_name(release, "b") else "a"


def canary_name(release: str) -> str:
    """The Service that leads to the candidate which is tried beside the one that serves; as the chart has it."""
    return f"{release}-canary"


def canary_endpoint(model: str, environment: str, namespace: str) -> str:
    """Where a candidate that is tried answers inside the cluster, as `host:port`."""
    return f"{canary_name(release_name(model, environment))}.{namespace}.svc.cluster.local:{PORT}"


def endpoint(model: str, environment: str, namespace: str) -> str:
    """Where the model answers inside the cluster, as `host:port`."""
    return f"{release_name(model, environment)}.{namespace}.svc.cluster.local:{PORT}"


def prefetch_job_name(run_id: str, fingerprint: str, node: str) -> str:
    """The Job that brings a candidate to a node in a run: the same run asks for the same Job again, another for a new one."""
    # A node's name may have 253 characters, a Job's 63. Another candidate is another name: a Job's template is immutable (422).
    digest = hashlib.sha256(f"{run_id}/{node}".encode()).hexdigest()[:10]
    return f"prefetch-{fingerprint[:12]}-{digest}"


def share_name(run_id: str, fingerprint: str, environment: str) -> str:
    """Service and Secret of the Jobs that bring a candidate to the environment's nodes together, in a run."""
    digest = hashlib.sha256(f"{run_id}/{environment}".encode()).hexdigest()[:10]
    return f"share-{fingerprint[:12]}-{digest}"


def scrub_job_name(run_id: str, node: str) -> str:
    """The Job that scrubs a node in a run."""
    return f"scrub-{hashlib.sha256(f'{run_id}/{node}'.encode()).hexdigest()[:20]}"
