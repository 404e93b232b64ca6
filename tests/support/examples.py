"""Specs and facts that tests begin with, each changed by keyword where a test cares."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from blocks.facts import ClusterEvent, Container, ContainerExit, HubFile, Load, Node, Pod, Position, Rollout, Sample, Taint, Trouble
from blocks.facts.model import ModelConfig, ModelFacts
from blocks.facts.registry import Entry, Event
from flows.naming import STORE_CLAIM, WEIGHTS_CLAIM
from flows.placement.assess import ClusterState
from flows.record.phases import pod_times
from flows.spec import Candidate, CheckSuite, EngineSettings, Environment, Model, PrefetchPolicy, SnapshotFile
from flows.spec.checks import UnknownModelCheck
from flows.verification.behaviour import compare, tolerance
from flows.verification.evidence import Evidence
from flows.verification.evidence import evidence as build_evidence
from flows.verification.golden import Golden, GoldenAnswer, Reference
from flows.verification.latency import level
from flows.verification.measurement import Measurement
from flows.verification.power import power
from flows.verification.probes import CHATS, TEXTS, ProbeAnswer
from flows.verification.shift import Shift
from flows.verification.verdict import Verdict, judge

BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)
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


#: `config.json` of Llama-3.1-8B, as far as memory goes.
LLAMA_31_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
    "rope_scaling": {"factor": 8.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "torch_dtype": "bfloat16",
    "vocab_size": 128_256,
}


def about(
    document: dict[str, Any] | None = None, *, architecture: str | None = None, quantisation: str | None = None, **changes: Any
) -> ModelFacts:
    """Llama-3.1-8B, as its repository describes it; or with another configuration."""
    said = LLAMA_31_8B if document is None else document
    config = ModelConfig(
        architecture=next(iter(said.get("architectures", ())), "") if architecture is None else architecture,
        dtype="bfloat16",
        quantisation=quantisation,
        configuration=json.dumps(said),
    )
    numbers = 8_030_261_248
    made = ModelFacts(
        config=config,
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


def cluster_state(*nodes: Node, **changes: Any) -> ClusterState:
    made = ClusterState(
        nodes=nodes or (node(),),
        gpus_taken={},
        pods=(),
        quotas=(),
        claims=(STORE_CLAIM, WEIGHTS_CLAIM),
        replicas=1,
        grace_seconds=60.0,
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


def entry(**changes: Any) -> Entry:
    """What serves in the environment, by the registry."""
    made = Entry(
        organisation=None,
        model="tiny-llama",
        hub_revision=COMMIT,
        environment="staging",
        namespace="llm-staging",
        endpoint="tiny-llama-staging-vllm.llm-staging.svc.cluster.local:8000",
        status="ready",
        status_reason=None,
        disabled_from=None,
        fingerprint=digest("candidate"),
        helm_revision=3,
        git_commit=None,
        verified_at=BEGIN,
        last_health_check_at=None,
        created_at=BEGIN,
        updated_at=BEGIN,
    )
    return replace(made, **changes)


def event(kind: str, **changes: Any) -> Event:
    made = Event(
        id=1,
        occurred_at=BEGIN,
        kind=kind,
        organisation=None,
        model="tiny-llama",
        environment="staging",
        fingerprint=digest("candidate"),
        run_id="0f0f0f0f-0000-0000-0000-000000000000",
        actor=None,
        detail={},
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
    made = Rollout(
        wanted=1,
        updated=1,
        available=1,
        total=1,
        observed=True,
        deadline_exceeded=False,
        problem="",
        pods=pods,
        routed=frozenset(pod.name for pod in pods if pod.ready),
    )
    return replace(made, **changes)


def verdict(*measurements: Measurement, levels: int = 2, text: str = " Paris.", **changes: Any) -> Verdict:
    """A verdict with all its figures; it passed unless measurements say otherwise."""
    draw = random.Random(1)
    loads = [
        Load(
            samples=tuple(
                Sample(
                    status=200, seconds=draw.lognormvariate(-4 + level / 2, 0.3), first_seconds=0.004, gaps_seconds=(0.002,) * 7, tokens=8
                )
                for _ in range(80)
            ),
            seconds=2.0,
            concurrency=4**level,
        )
        for level in range(levels)
    ]
    answers = tuple(
        GoldenAnswer(name=name, text=said, tokens=tuple(said), logprobs=(-0.1,) * len(said), valid=True)
        for name, said in (("capital-of-france", text), ("two-plus-two", " four."))
    )
    place = Position(token="17", top={"17": -0.4, "4": -1.9, "256": -3.1})
    golden = Golden(
        prompts_sha256=digest("prompts"),
        answers=answers,
        runs=3,
        exact_share=1.0,
        noise_nats=0.002,
        probes=tuple(ProbeAnswer(probe=probe, text=text, read=(place,) * 12, said=(place,) * 4) for probe in (TEXTS[0], CHATS[0])),
        noise=Shift(positions=32, mean_nats=0.001, max_nats=0.002),
    )
    before = replace(golden, answers=(replace(answers[0], text=" Lyon.", tokens=tuple(" Lyon.")), answers[1]))
    return judge(
        measurements or [Measurement(name="capital-of-france", kind="completion", outcome="passed", expected="Paris", seen=repr(text))],
        **{
            "engine_version": "0.32.0",
            "warmup_seconds": 28.0,
            "latency": [level([load]) for load in loads],
            "golden": golden,
            "behaviour": compare(golden, Reference(fingerprint=digest("before"), commit="f" * 40, golden=before), COMMIT),
            "power": power(golden, tolerance(golden.noise)),
            "pods": pod_times([pod("a", times={"created": BEGIN, "scheduled": BEGIN, "started": BEGIN, "ready": BEGIN})]),
            **changes,
        },
    )


def evidence(made: Verdict, **changes: Any) -> Evidence:
    reference = Reference(fingerprint=made.behaviour.reference if made.behaviour else None)
    suite = CheckSuite(name="smoke", checks=(UnknownModelCheck(name="a", kind="unknown-model"),))
    return build_evidence(
        **{
            "candidate": candidate(),
            "environment": environment(),
            "suite": suite,
            "reference": reference,
            "verdict": made,
            "phases": {
                "resolve": 1.2,
                "plan": 0.4,
                "prefetch": 61.0,
                "schedule": 2.0,
                "pull": 30.0,
                "load": 95.0,
                "warm-up": 28.0,
                "verify": 4.0,
            },
            "run_id": "0f0f0f0f-0000-0000-0000-000000000000",
            "measured_at": BEGIN,
            **changes,
        }
    )
