"""Specs and facts that tests begin with, each changed by keyword where a test cares."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from blocks.facts import ClusterEvent, Container, ContainerExit, HubFile, Node, Pod, Rollout, Trouble
from flows.spec import Candidate, EngineSettings, Environment, PrefetchPolicy, SnapshotFile

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def candidate(**changes: Any) -> Candidate:
    made = Candidate(
        model="tiny-llama",
        repository="slipway-demo/tiny-llama",
        commit=COMMIT,
        files=(
            SnapshotFile(path="config.json", size_bytes=600, digest="a" * 40, algorithm="git-sha1"),
            SnapshotFile(path="model.safetensors", size_bytes=2_000_000, digest=digest("weights"), algorithm="sha256"),
        ),
        image=f"slipway-sandbox/vllm-openai@sha256:{digest('image')}",
        chart_digest=digest("chart"),
        engine=EngineSettings(max_model_len=256),
    )
    return replace(made, **changes)


def environment(**changes: Any) -> Environment:
    made = Environment(
        name="staging",
        namespace="llm-staging",
        after="development",
        prefetch=PrefetchPolicy(image=f"slipway-sandbox/prefetch@sha256:{digest('prefetch')}"),
    )
    return replace(made, **changes)


def hub_file(path: str, size_bytes: int = 100) -> HubFile:
    return HubFile(path=path, size_bytes=size_bytes, digest=digest(path), algorithm="sha256")


def node(name: str = "gpu-1", **changes: Any) -> Node:
    return replace(Node(name=name, ready=True, schedulable=True, gpus=2), **changes)


def pod(label: str, **changes: Any) -> Pod:
    made = Pod(
        name="tiny-llama-staging-1",
        labels={"slipway.dev/candidate": label},
        ready=True,
        phase="Running",
        node="gpu-1",
        restarts=0,
        problem="",
        terminating=False,
    )
    return replace(made, **changes)


def waiting_pod(label: str, **changes: Any) -> Pod:
    """A pod of the candidate that has a node and does not serve yet."""
    return pod(label, **{"ready": False, "phase": "Pending", **changes})


def crashed(ended: str = "Error", code: int = 1, words: str = "", **changes: Any) -> Container:
    """A container whose process ended, and which the kubelet starts again after a wait."""
    made = Container(
        name="vllm",
        state="waiting",
        reason="CrashLoopBackOff",
        message="back-off 10s restarting failed container=vllm",
        restarts=1,
        last_exit=ContainerExit(reason=ended, code=code, message=words),
    )
    return replace(made, **changes)


def trouble(pod: Pod, *events: tuple[str, str], log: str = "") -> Trouble:
    """What is to be seen of the pod, with events as (reason, message)."""
    return Trouble(pod=pod, events=tuple(ClusterEvent(reason=reason, message=message) for reason, message in events), log=log)


def rollout(*pods: Pod, **changes: Any) -> Rollout:
    made = Rollout(wanted=1, updated=1, available=1, total=1, observed=True, deadline_exceeded=False, problem="", pods=pods)
    return replace(made, **changes)
