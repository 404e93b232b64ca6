"""Specs and facts that tests begin with, each changed by keyword where a test cares."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from blocks.facts import ClusterEvent, Container, ContainerExit, HubFile, Node, Pod, Rollout, Taint, Trouble
from blocks.model_facts import AttentionLayers, ModelConfig, ModelFacts
from flows.plan.release import Surroundings
from flows.spec import Candidate, EngineSettings, Environment, Model, PrefetchPolicy, SnapshotFile

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


def about(**changes: Any) -> ModelFacts:
    """Llama-3.1-8B, as its repository describes it."""
    config = ModelConfig(
        architecture="LlamaForCausalLM",
        dtype="bfloat16",
        quantisation=None,
        attention_heads=32,
        attention=(AttentionLayers(layers=32, values=2 * 8 * 128, heads=8),),
        state_values=0,
        max_context=131_072,
    )
    numbers = 8_030_261_248
    made = ModelFacts(
        config=replace(config, **{key: changes.pop(key) for key in list(changes) if hasattr(config, key) and key != "dtype"}),
        stored={"BF16": numbers},
        weights_bytes=2 * numbers,
        formats=("safetensors",),
        licences=("llama3.1",),
        gated=True,
    )
    return replace(made, **changes)


def model(**changes: Any) -> Model:
    made = Model(
        name="tiny-llama",
        repository="slipway-demo/tiny-llama",
        image=f"slipway-sandbox/vllm-openai@sha256:{digest('image')}",
        engine=EngineSettings(max_model_len=256),
    )
    return replace(made, **changes)


def surroundings(*nodes: Node, **changes: Any) -> Surroundings:
    made = Surroundings(
        nodes=nodes or (node(),), gpus_taken={}, pods=(), quotas=(), chart_digest=digest("chart"), replicas=1, strategy="inPlace"
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
    made = Node(
        name=name,
        ready=True,
        schedulable=True,
        gpus=2,
        gpu_memory_bytes=81_559 * 2**20,
        gpu_product="NVIDIA-H100-80GB-HBM3",
        disk_bytes=500 * 2**30,
        disk_pressure=False,
        taints=(Taint(key="gpu-workload", value="true", effect="NoSchedule"),),
    )
    return replace(made, **changes)


def pod(label: str, **changes: Any) -> Pod:
    made = Pod(
        name="tiny-llama-staging-1",
        labels={"slipway.dev/candidate": label},
        ready=True,
        phase="Running",
        node="gpu-1",
        restarts=0,
        gpus=1,
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
