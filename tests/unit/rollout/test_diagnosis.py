"""Each kind of trouble gets its category, with the words of Kubernetes or of the engine, and says whether waiting helps."""

from __future__ import annotations

import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import ClusterUnreachable, HelmRejected, HubRejected, RolloutStalled
from blocks.facts import Container, ContainerExit, Node, Taint, Trouble
from blocks.secret_shapes import redacted
from flows.rollout.diagnosis import REMEDIES, Diagnosis, diagnose, diagnosis_of
from flows.rollout.engine_log import read_log
from tests.support.examples import candidate, crashed, node, rollout, trouble, waiting_pod

LABEL = candidate().label


def found(*troubles: Trouble, problem: str = "", gpus_wanted: int = 1) -> Diagnosis:
    diagnosis = diagnose(rollout(*(t.pod for t in troubles), problem=problem), LABEL, troubles, [node()], gpus_wanted)
    assert diagnosis is not None
    return diagnosis


def pulling(reason: str, message: str, *events: tuple[str, str]) -> Trouble:
    return trouble(waiting_pod(LABEL, containers=(Container(name="vllm", state="waiting", reason=reason, message=message),)), *events)


def mounting(message: str) -> Trouble:
    waits = Container(name="vllm", state="waiting", reason="ContainerCreating")
    return trouble(waiting_pod(LABEL, containers=(waits,)), ("FailedMount", message))


def ended(log: str = "", *events: tuple[str, str], **changes: object) -> Trouble:
    return trouble(waiting_pod(LABEL, phase="Running", containers=(crashed(**changes),)), *events, log=log)  # type: ignore[arg-type]


def homeless(message: str) -> Trouble:
    return trouble(waiting_pod(LABEL, node=None, problem=f"Unschedulable: {message}"))


# The words of the kubelet, the scheduler and vLLM 0.32; those of quota and scheduler as recorded from Kubernetes 1.36.
TROUBLES = {
    "image-not-found": pulling(
        "ImagePullBackOff",
        'Back-off pulling image "vllm/vllm-openai@sha256:aa"',
        ("Failed", 'Failed to pull image "vllm/vllm-openai@sha256:aa": rpc error: code = NotFound desc = manifest unknown'),
    ),
    "image-pull-denied": pulling(
        "ErrImagePull",
        "failed to pull and unpack image: failed to authorize: 401 Unauthorized",
        ("FailedToRetrieveImagePullSecret", "Unable to retrieve some image pull secrets (regcred); attempting to pull may not succeed."),
    ),
    "image-not-pulled": pulling("ErrImagePull", "failed to resolve reference: dial tcp 10.0.0.1:443: i/o timeout"),
    "container-refused": pulling("CreateContainerConfigError", 'secret "engine-settings" missing'),
    "weights-missing": pulling(
        "CreateContainerConfigError", 'failed to create subPath directory for volumeMount "weights" of container "check-weights"'
    ),
    "scratch-full": trouble(
        waiting_pod(LABEL, phase="Failed", problem='Evicted: Usage of EmptyDir volume "temporary" exceeds the limit "20Gi". ')
    ),
    "node-disk-full": pulling("ErrImagePull", "failed to extract layer: write /var/lib: no space left on device"),
    "shared-memory-full": ended("RuntimeError: unable to write to file </torch_259_1077415417_3>: No space left on device (28)"),
    "weights-refused": trouble(
        waiting_pod(LABEL, containers=(crashed(name="check-weights", kind="init"),)),
        log="model.safetensors: 10 bytes, its manifest says 20",
    ),
    "weights-unloadable": ended("ERROR ValueError: Following weights were not initialized from checkpoint: {'lm_head.weight'}"),
    "gpu-out-of-memory": ended("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
    "no-kv-cache-memory": ended(
        "ValueError: To serve at least one request with the models's max seq len (40960), (5.62 GiB KV cache is needed, which is "
        "larger than the available KV cache memory (4.50 GiB)."
    ),
    "out-of-memory": ended(last_exit=crashed("OOMKilled", 137).last_exit),
    "killed-while-loading": ended(
        "INFO Loading safetensors checkpoint shards: 40% Completed",
        ("Killing", "Container vllm failed startup probe, will be restarted"),
        last_exit=crashed("Error", 137).last_exit,
    ),
    "hung-engine": ended(
        "INFO Avg generation throughput: 0.0 tokens/s",
        ("Killing", "Container vllm failed liveness probe, will be restarted"),
        last_exit=crashed("Completed", 0).last_exit,
    ),
    "crash-loop": ended("Traceback (most recent call last):\nKeyError: 'surprise'\nRuntimeError: See root cause above"),
    "no-gpu": homeless("0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available."),
    "no-room": homeless("0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available."),
    "no-matching-node": homeless(
        "0/3 nodes are available: 2 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint."
    ),
}


@pytest.mark.parametrize("category", TROUBLES)
def test_each_trouble_has_its_category_and_a_remedy(category: str) -> None:
    diagnosis = found(TROUBLES[category])

    assert diagnosis.category == category
    assert diagnosis.remedy.endswith(".")
    assert diagnosis.evidence
    assert "\n" not in diagnosis.message


WAITED_FOR = ("image-not-pulled", "node-disk-full", "scratch-full", "no-gpu", "no-room")


@pytest.mark.parametrize("category", [kind for kind in TROUBLES if kind not in WAITED_FOR])
def test_what_kubernetes_only_tries_again_is_not_waited_for(category: str) -> None:
    assert found(TROUBLES[category]).patience_seconds == 0


@pytest.mark.parametrize(
    ("seen", "names"),
    [
        (mounting('MountVolume.SetUp failed for volume "compiled" : hostPath type check failed: /cache is not a directory'), "/cache"),
        (
            trouble(
                waiting_pod(LABEL, containers=(crashed(name="prepare-compiled", kind="init"),)),
                log="/var/cache/slipway/production cannot be had (Permission denied): let the folder belong to user 2000.",
            ),
            "Permission denied",
        ),
    ],
)
def test_a_place_for_compiled_code_that_is_not_to_be_had_is_no_fault_of_the_weights(seen: Trouble, names: str) -> None:
    diagnosis = found(seen)

    assert diagnosis.category == "container-refused"
    assert diagnosis.patience_seconds == 0
    assert names in diagnosis.message


def test_a_node_without_the_store_is_told_from_one_without_the_snapshot() -> None:
    store = 'MountVolume.NewMounter initialization failed for volume "llm-weights" : path "/var/lib/slipway" does not exist'

    assert found(mounting(store)).category == "container-refused"
    assert found(mounting(store)).patience_seconds == 0
    assert "make that folder on the node" in found(mounting(store)).message


def test_what_may_pass_is_waited_for() -> None:
    assert found(TROUBLES["image-not-pulled"]).patience_seconds is None
    assert found(TROUBLES["no-gpu"]).patience_seconds == 180


def test_no_node_with_that_many_gpus_is_said_at_once() -> None:
    assert found(TROUBLES["no-gpu"], gpus_wanted=8).patience_seconds == 0


def test_a_full_disk_keeps_the_scheduler_away() -> None:
    full = homeless("0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }.")

    assert found(full).category == "node-disk-full"


@pytest.mark.parametrize(
    "first",
    ["1 Too many pods", "1 node(s) exceed max volume count", "1 node(s) had untolerated taint {node.kubernetes.io/memory-pressure: }"],
)
def test_a_node_that_is_full_for_now_is_waited_for(first: str) -> None:
    full = found(homeless(f"0/5 nodes are available: {first}, 4 node(s) didn't satisfy plugin(s) [NodeAffinity]. preemption: 0/5 …"))

    assert (full.category, full.patience_seconds) == ("no-room", 180)


def test_a_thrown_out_pod_names_what_its_node_was_low_on() -> None:
    evicted = waiting_pod(LABEL, phase="Failed", problem="Evicted: The node was low on resource: ephemeral-storage.")

    assert found(trouble(evicted)).category == "node-disk-full"


def test_a_silent_node_is_named() -> None:
    lost = waiting_pod(LABEL, node="gpu-1")

    diagnosis = diagnose(rollout(lost), LABEL, [trouble(lost)], [node("gpu-1", ready=False)], 1)

    assert diagnosis is not None
    assert diagnosis.category == "node-lost"
    assert "gpu-1" in diagnosis.message


QUOTA = (
    'FailedCreate: pods "second" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu={0}, '
    "used: requests.nvidia.com/gpu=1, limited: requests.nvidia.com/gpu=1"
)


def test_a_full_quota_is_waited_for_and_a_small_one_is_not() -> None:
    full, small = found(problem=QUOTA.format(1)), found(problem=QUOTA.format(2))

    assert (full.category, full.patience_seconds) == ("quota-exceeded", 180)
    assert (small.category, small.patience_seconds) == ("quota-exceeded", 0)


@pytest.mark.parametrize(
    ("problem", "patience"),
    [
        ('FailedCreate: pods "a" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true', 0),
        ('FailedCreate: admission webhook "policy" denied the request: no latest tags', 0),
        ('FailedCreate: admission webhook "policy" denied the request: the scan timed out: connection refused', 0),
        ('FailedCreate: Internal error occurred: failed calling webhook "policy": connection refused', 180),
        ('FailedCreate: pods "a" is forbidden: status unknown for quota: gpus, resources: requests.nvidia.com/gpu', 180),
        ('FailedCreate: Operation cannot be fulfilled on resourcequotas "gpus": the object has been modified', 180),
        ('FailedCreate: pods "a" is forbidden: error looking up service account x/default: serviceaccount "default" not found', 180),
        ("FailedCreate: etcdserver: request timed out", 180),
    ],
)
def test_a_refused_pod_is_told_though_it_does_not_exist(problem: str, patience: float) -> None:
    diagnosis = found(problem=problem)

    assert (diagnosis.category, diagnosis.patience_seconds) == ("admission-refused", patience)
    assert problem in diagnosis.message


def test_nothing_wrong_is_nothing_found() -> None:
    starting = waiting_pod(LABEL, containers=(Container(name="vllm", state="waiting", reason="ContainerCreating"),))

    assert diagnose(rollout(starting), LABEL, [trouble(starting, ("Pulling", "Pulling image"))], [node()], 1) is None


@pytest.mark.parametrize("kind", ["init", "main"])
def test_a_container_that_its_node_lost_track_of_is_no_fault_of_its_own(kind: str) -> None:
    # a node's agent that was restarted says this of what ran, and starts it again
    lost = crashed("ContainerStatusUnknown", 137, "The container could not be located when the pod was terminated", kind=kind)

    for now in (lost, replace(lost, state="running", reason="")):
        assert diagnose(rollout(), LABEL, [trouble(waiting_pod(LABEL, containers=(now,)))], [node()], 1) is None


def test_errors_become_diagnoses_and_come_back_from_their_facts() -> None:
    diagnosis = found(TROUBLES["gpu-out-of-memory"])

    assert diagnosis_of(RolloutStalled("stalled", **diagnosis.document())) == diagnosis
    unreachable = diagnosis_of(ClusterUnreachable("The cluster at https://a cannot be reached."))
    assert unreachable is not None
    assert unreachable.category == "cluster-unreachable"
    assert diagnosis_of(HelmRejected("Helm refused: values don't meet the schema.")) is None
    assert diagnosis_of(HubRejected("no such repository")) is None


@pytest.mark.parametrize(
    ("said", "by_policy"),
    [
        ('admission webhook "policy" denied the request.', True),
        ('pods "a" is forbidden: exceeded quota: gpus, requested: pods=1, used: pods=1, limited: pods=1.', True),
        ('deployments.apps "a" is forbidden: violates PodSecurity "restricted:latest": host namespaces.', True),
        # as recorded of the API server, about rights
        (
            'secrets is forbidden: User "system:serviceaccount:a:b" cannot list resource "secrets" in API group "" in the namespace "c".',
            False,
        ),
        ('services "a" is forbidden: unable to create new content in namespace b because it is being terminated.', False),
        ("values don't meet the schema.", False),
    ],
)
def test_a_refusal_by_policy_is_told_from_one_for_want_of_rights(said: str, by_policy: bool) -> None:
    diagnosis = diagnosis_of(HelmRejected(f"Helm refused: {said}"))

    assert (diagnosis is not None) is by_policy
    assert diagnosis is None or diagnosis.category == "admission-refused"


@pytest.mark.parametrize(
    ("container", "patience"),
    [
        # between two attempts the state is `terminated`, and not yet `CrashLoopBackOff` (Kubernetes 1.36)
        ({"state": "terminated", "reason": "Error", "restarts": 0}, None),
        ({"state": "running", "reason": "", "restarts": 1}, None),
        ({"state": "terminated", "reason": "Error", "restarts": 1}, 0),
        ({"state": "running", "reason": "", "restarts": 2}, 0),
    ],
)
def test_a_container_that_ended_twice_will_end_again(container: dict[str, Any], patience: float | None) -> None:
    diagnosis = found(ended(**container))

    assert (diagnosis.category, diagnosis.patience_seconds) == ("crash-loop", patience)


def test_a_container_that_ends_well_is_told_once_it_came_twice_or_a_probe_asked_for_it() -> None:
    done = ContainerExit(reason="Completed", code=0)
    killed = ("Killing", "Container vllm failed liveness probe, will be restarted")

    assert diagnose(rollout(), LABEL, [ended(state="running", reason="", restarts=1, last_exit=done)], [node()], 1) is None
    assert found(ended(state="terminated", reason="Completed", restarts=1, last_exit=done)).category == "crash-loop"
    assert found(ended("", killed, state="running", reason="", restarts=1, last_exit=done)).category == "hung-engine"


def test_what_is_injected_is_named_and_never_taken_for_the_engine() -> None:
    crashes = crashed(name="istio-init", kind="init")
    mesh = trouble(waiting_pod(LABEL, containers=(crashes, Container(name="vllm", state="waiting"))), log="iptables: denied")
    looking = trouble(waiting_pod(LABEL, containers=(Container(name="vllm"), crashed(name="debugger", kind="debug"))))
    both = trouble(
        waiting_pod(LABEL, containers=(crashed(name="istio-proxy"), crashed())), log="torch.OutOfMemoryError: CUDA out of memory."
    )

    assert found(mesh).category == "crash-loop"
    assert "istio-init" in found(mesh).message
    assert "does not render it" in found(mesh).message
    assert diagnose(rollout(), LABEL, [looking], [node()], 1) is None
    # the log is the engine's: what failed beside it has not said that
    assert found(both).category == "gpu-out-of-memory"


def test_a_container_that_cannot_be_started_is_no_crash_between_two_attempts() -> None:
    no_program = ContainerExit(reason="StartError", code=128, message='exec: "vllm": executable file not found in $PATH: unknown')

    assert found(ended(restarts=2, last_exit=no_program)).category == "container-refused"
    assert "not found in $PATH" in found(ended(restarts=2, last_exit=no_program)).message


def test_a_taint_of_a_node_that_does_not_report_is_waited_for() -> None:
    tainted = homeless("0/1 nodes are available: 1 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/1 nodes.")
    just_back = node(taints=(Taint(key="node.kubernetes.io/not-ready", value="", effect="NoSchedule"),))

    def seen(at: Node) -> Diagnosis:
        diagnosis = diagnose(rollout(tainted.pod), LABEL, [tainted], [at], 1)
        assert diagnosis is not None
        return diagnosis

    assert (seen(node(ready=False)).category, seen(node(ready=False)).patience_seconds) == ("node-lost", None)
    assert seen(just_back).category == "node-lost"
    assert seen(node()).category == "no-matching-node"
    assert "preemption" not in seen(node()).message


def test_amounts_of_a_quota_are_compared_with_their_units() -> None:
    said = 'pods "a" is forbidden: exceeded quota: small, requested: requests.cpu={}, used: requests.cpu=0, limited: requests.cpu=1'

    assert found(problem=said.format("1100m")).patience_seconds == 0
    assert found(problem=said.format("900m")).patience_seconds == 180


def test_every_category_can_be_found_or_is_an_error_of_its_own() -> None:
    elsewhere = {"quota-exceeded", "admission-refused", "node-lost", "cluster-unreachable", "progress-deadline"}

    assert set(TROUBLES) | elsewhere == set(REMEDIES)


def test_the_cause_is_found_above_the_last_line() -> None:
    log = "\n".join(
        [
            "(EngineCore pid=91) ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.",
            *["(EngineCore pid=91)   File worker.py, line 1"] * 50,
            "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        ]
    )

    finding = read_log(log)

    assert finding is not None
    assert finding.cause == "gpu-out-of-memory"
    assert "CUDA out of memory" in finding.line


@pytest.mark.parametrize(
    ("said", "secret"),
    [
        ("OSError: token hf_abcdefghijkl is not valid", "hf_abcdefghijkl"),
        ("Authorization: Bearer eyJhbGciOi", "eyJhbGciOi"),
        ("connecting to postgres://app:hunter2@db/x", "hunter2"),
        ("api_key='sk-123456'", "sk-123456"),
    ],
)
def test_secrets_in_a_log_are_not_shown(said: str, secret: str) -> None:
    finding = read_log(f"ValueError: {said}")

    assert finding is not None
    assert secret not in finding.line
    assert secret not in redacted(said)


def test_no_line_of_a_key_that_has_many_is_quoted() -> None:
    finding = read_log("INFO starting\n-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\nhunter2\n")

    assert finding is not None
    assert "hunter2" not in finding.line


@given(st.text(alphabet=string.printable, max_size=2000))
def test_any_log_is_read_without_a_crash_and_in_one_short_line(text: str) -> None:
    finding = read_log(text)

    assert finding is None or ("\n" not in finding.line and len(finding.line) <= 300)


@given(st.text(max_size=300), st.text(max_size=300), st.sampled_from(["", "Pending", "Running", "Failed"]))
def test_any_words_of_a_cluster_lead_to_a_diagnosis_or_none(reason: str, message: str, phase: str) -> None:
    seen = trouble(
        waiting_pod(LABEL, phase=phase, problem=f"{reason}: {message}", containers=(crashed(reason, 1, message), crashed(reason=message))),
        (reason, message),
        log=message,
    )

    assert diagnose(rollout(seen.pod, problem=message), LABEL, [seen], [node()], 1) is not None


@pytest.mark.parametrize(
    ("said", "category"),
    [
        ("OSError: [Errno 28] No space left on device: '/psm_a1b2c3d4'", "shared-memory-full"),
        (
            "torch.AcceleratorError: unable to allocate shared memory(shm) for file </torch_7_1>: No space left on device (28)",
            "shared-memory-full",
        ),
        ("NCCL WARN Error while creating shared memory segment /dev/shm/nccl-Qx81 (size 9637888)", "shared-memory-full"),
        (
            "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
            "shared-memory-full",
        ),
        ("OSError: [Errno 28] No space left on device: '/tmp/torchinductor/x'", "node-disk-full"),
        ("OSError: [Errno 28] No space left on device", "node-disk-full"),
    ],
)
def test_a_full_shared_memory_is_told_from_a_full_disk(said: str, category: str) -> None:
    diagnosis = found(ended(said))

    assert (diagnosis.category, diagnosis.patience_seconds) == (category, 0.0)
