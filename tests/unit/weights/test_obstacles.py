"""A Job on a node that does not begin, or does not end: what is said of it at each second of what a real cluster showed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from blocks.cluster.jobs import read_job
from blocks.cluster.nodes import read_node
from blocks.cluster.pods import read_events, read_pod
from blocks.facts import ClusterEvent, Container, ContainerExit, JobState, Pod, Trouble
from blocks.kubernetes_api import Document
from flows.rollout.finding import Finding
from flows.weights.obstacles import begins, ended_beside_others, failure, last_words, lost, obstacle, with_remedy
from flows.weights.progress import said
from tests.support.examples import crashed, node, pod, trouble
from tests.support.recorded_kubelet import RECORDING, Moment, moments

recorded = pytest.mark.skipif(not RECORDING.exists(), reason="the recordings are not on this machine (../shared/kubernetes)")


def read(moment: Moment, name: str, at: str = "rk-1") -> tuple[JobState | None, list[Pod], Finding | None]:
    """What a step that waits for the Job reads at that moment."""
    job = moment.objects.get(("Job", name))
    pods = [read_pod(one) for one in moment.of_kind("Pod") if (one.metadata.labels or {}).get("batch.kubernetes.io/job-name") == name]
    nodes = [read_node(one) for one in moment.of_kind("Node")] or [node("rk-1")]
    troubles = [Trouble(pod=each, events=read_events(moment.events("Pod", each.name))) for each in pods if not each.terminating]
    state = read_job(job) if job is not None else None
    found = None
    if state is not None and not begins(pods):
        found = obstacle(state, read_events(moment.events("Job", name)), troubles, nodes, at)
    return state, pods, found


def story(scene: str, name: str, at: str = "rk-1") -> list[tuple[float, str, str]]:
    """Each change of what is said of the Job, until it is given up for lost: seconds, how it stands, the sentence when that began."""
    told: list[tuple[float, str, str]] = []
    seen, was_deleted = False, False
    for moment in moments(scene):
        if (moment.kind, moment.name) == ("Job", name):
            seen = True
        if not seen:
            continue
        state, pods, found = read(moment, name, at)
        was_deleted = was_deleted or any(each.terminating for each in pods)
        nodes = [read_node(one) for one in moment.of_kind("Node")]
        if why := lost(state, pods, nodes, was_deleted):
            now = "lost", why
        elif state is not None and state.outcome == "failed":
            now = "failed", failure([Trouble(pod=each) for each in pods]) or state.reason
        elif found is not None:
            now = f"waits {found.patience_seconds:g}" if found.patience_seconds is not None else "waits", with_remedy(found)
        else:
            now = (state.outcome or "") if state is not None else "", ""
        if not told or told[-1][1] != now[0]:
            told.append((moment.seconds, *now))
        if now[0] == "lost":
            break
    return told


@recorded
@pytest.mark.parametrize(
    ("scene", "name", "at", "states"),
    [
        # refused for ever: said in the first second, though the Job's own status says nothing until its deadline, and then not why
        ("08-job-quota", "late", "rk-1", ["", "waits 0", "failed"]),
        ("08-job-quota", "no-request", "rk-1", ["", "waits 0"]),
        # its quota was raised at 45 s, which its controller noticed at 64 s
        ("08-job-quota", "refused", "rk-1", ["", "waits 0", "", "succeeded"]),
        ("08-job-pod-security", "refused", "rk-1", ["", "waits 0", "failed"]),
        # others may leave, as they do for the first
        ("08-job-unschedulable", "waits", "rk-1", ["", "waits 180", "", "succeeded"]),
        ("08-job-unschedulable", "never", "rk-1", ["", "waits 180"]),
        ("08-job-unschedulable", "no-toleration", "rk-1", ["", "waits 0"]),
        ("08-job-unschedulable", "other-node", "gone", ["", "waits 0"]),
        # a pod that is deleted counts as failed at once; what it does until it ends is waited for
        ("08-job-deleted", "by-hand", "rk-1", ["", "lost"]),
        ("08-job-deleted", "background", "rk-1", ["", "lost"]),
        # it will fail, and says so only when the kubelet is back: nobody waits for that
        ("10-node", "work", "rk-1", ["", "lost"]),
        ("08-jobs", "fails-0", "rk-1", ["", "failed"]),
        ("08-jobs", "complete", "rk-1", ["", "succeeded"]),
    ],
)
def test_a_job_is_read_right_at_each_second(scene: str, name: str, at: str, states: list[str]) -> None:
    assert [state for _, state, _ in story(scene, name, at)] == states


@recorded
@pytest.mark.parametrize(
    ("scene", "name", "at", "within", "words"),
    [
        (
            "08-job-quota",
            "late",
            "rk-1",
            1.5,
            ["exceeded quota: small", "requests.cpu=200m", "Raise the namespace's", "a minute"],
        ),
        (
            "08-job-quota",
            "no-request",
            "rk-1",
            1.5,
            ["must specify requests.cpu for: main", "Change what the message"],
        ),
        ("08-job-pod-security", "refused", "rk-1", 1.5, ["violates PodSecurity", "allowPrivilegeEscalation", "policy for the namespace"]),
        ("08-job-unschedulable", "never", "rk-1", 3, ["1 Insufficient cpu", "Free memory or CPU on that node"]),
        ("08-job-unschedulable", "other-node", "gone", 3, ["there is no node gone any longer", "[NodeAffinity]", "node_selector"]),
        ("08-job-unschedulable", "no-toleration", "rk-1", 3, ["untolerated taint", "tolerate its taints"]),
        # 44 s: until the cluster knows that the node is silent
        ("10-node", "work", "rk-1", 70, ["node rk-1 does not report", "DeletionByTaintManager"]),
        ("08-job-deleted", "by-hand", "rk-1", 17, ["its pod was deleted"]),
        ("08-job-deleted", "background", "rk-1", 13, ["somebody deleted it"]),
        ("08-jobs", "fails-0", "rk-1", 12, ["container vllm ended with exit code 4: no"]),
    ],
)
def test_the_sentence_names_object_field_and_cure(scene: str, name: str, at: str, within: float, words: list[str]) -> None:
    seconds, _, sentence = story(scene, name, at)[1]

    assert seconds <= within
    for word in words:
        assert word in sentence
    assert "preemption" not in sentence


def failed(**changes: object) -> Pod:
    return pod("", ready=False, phase="Failed", problem="Error: exit code 1", containers=(crashed(name="prefetch", **changes),))  # type: ignore[arg-type]


REPORT = json.dumps({"event": "failed", "error": "HubRejected", "message": "The hub wants a token for slipway-demo/private."})


def test_what_the_program_said_last_is_in_its_pods_status_when_the_log_cannot_be_read() -> None:
    ended = failed(words=f'{{"event": "progress"}}\n{REPORT}\n')
    istio = crashed(name="istio-init", kind="init", words="iptables")
    injected = pod("", containers=(istio, *ended.containers))

    assert said(last_words([ended]))["error"] == "HubRejected"
    assert said(last_words([injected])) == said(REPORT)
    # the kubelet keeps the end of a long log: its first line may be cut
    assert said(last_words([failed(words='ge": "x"}')])) == {}
    assert last_words([]) == ""


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        (failed(words="Traceback (most recent call last):\nKeyError: 'files'"), "exit code 1: KeyError: 'files'"),
        (failed(words="hf_abcdefghijklmnopqrstuvwxyz012345 is no token"), "exit code 1: *** is no token"),
        (failed(), "exit code 1, and it left no word"),
        (failed(last_exit=ContainerExit(reason="OOMKilled", code=137)), "more memory than its limit"),
    ],
)
def test_a_program_that_ends_without_a_report_is_a_fault_of_its_own(ended: Pod, says: str) -> None:
    state = JobState(
        name="prefetch", outcome="failed", reason="BackoffLimitExceeded", message="Job has reached the specified backoff limit"
    )

    assert lost(state, [ended], [node()], was_deleted=False) == ""
    assert says in failure([trouble(ended)])
    assert "hf_" not in failure([trouble(ended)])


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        (failed(last_exit=ContainerExit(reason="Error", code=137)), "its process was killed (Error with exit code 137)"),
        (failed(last_exit=ContainerExit(reason="Unknown", code=255)), "its process was killed"),
        (
            pod("", phase="Failed", disrupted="EvictionByEvictionAPI: Eviction API: evicting"),
            "EvictionByEvictionAPI: Eviction API: evicting",
        ),
        (
            pod("", phase="Failed", problem="Evicted: The node was low on resource: memory. "),
            "Evicted: The node was low on resource: memory",
        ),
        # what the kubelet does not let begin, as others were quicker or a driver failed, has not been tried
        (pod("", phase="Failed", problem="OutOfcpu: Node didn't have enough resource: cpu, requested: 1000"), "OutOfcpu: Node didn't"),
        (pod("", phase="Failed", problem="UnexpectedAdmissionError: Allocate failed due to no devices"), "UnexpectedAdmissionError: "),
        (pod("", phase="Failed", problem="Terminated: Pod was terminated in response to imminent node shutdown."), "node shutdown"),
        (None, "its pod was deleted"),
    ],
)
def test_what_ended_it_from_outside_is_tried_again(ended: Pod | None, says: str) -> None:
    state = JobState(name="prefetch", outcome="failed", reason="BackoffLimitExceeded")

    assert says in lost(state, [ended] if ended is not None else [], [node()], was_deleted=False)


def test_one_that_outgrew_its_own_limits_would_do_so_again() -> None:
    state = JobState(name="prefetch", outcome="failed", reason="BackoffLimitExceeded")
    problem = "Evicted: Pod ephemeral local storage usage exceeds the total limit of containers 100Mi. "
    ended = pod("", phase="Failed", problem=problem)

    assert lost(state, [ended], [node()], was_deleted=False) == ""
    assert "LimitRange" in failure([trouble(ended)])


PROGRAM = crashed(name="prefetch", state="terminated", reason="Error", words="ImportError: no module", restarts=0)
#: What a mesh injects: killed when the program has ended, or going on for ever where it is no init container.
KILLED = Container(name="proxy", kind="sidecar", state="terminated", last_exit=ContainerExit(reason="Error", code=137, message="draining"))
GOES_ON = Container(name="proxy", state="running")


def test_what_becomes_of_an_injected_container_says_nothing_of_the_program() -> None:
    ended = pod("", phase="Failed", containers=(KILLED, replace(KILLED, name="agent", kind="main"), PROGRAM))

    assert lost(JobState(name="prefetch", outcome="failed", reason="BackoffLimitExceeded"), [ended], [node()], was_deleted=False) == ""
    assert last_words([ended]) == "ImportError: no module"
    assert failure([trouble(ended)]).startswith("container prefetch ended with exit code 1: ImportError")
    assert ended.failed == PROGRAM


@pytest.mark.parametrize("code", [0, 1])
def test_a_sidecar_that_goes_on_is_not_waited_for(code: int) -> None:
    runs = JobState(name="prefetch", outcome=None)
    ended = replace(PROGRAM, last_exit=ContainerExit(reason="Error", code=code))

    assert ended_beside_others(runs, [pod("", containers=(GOES_ON, ended))]) == replace(runs, outcome="failed" if code else "succeeded")


@pytest.mark.parametrize(
    "containers",
    [(PROGRAM,), (KILLED, PROGRAM), (GOES_ON, replace(PROGRAM, state="running")), (replace(GOES_ON, kind="sidecar"), PROGRAM), (GOES_ON,)],
)
def test_what_ends_by_itself_or_has_not_ended_is_waited_for(containers: tuple[Container, ...]) -> None:
    assert ended_beside_others(JobState(name="prefetch", outcome=None), [pod("", containers=containers)]) is None


def test_a_job_that_is_held_back_is_said_to_be() -> None:
    job = {"metadata": {"name": "prefetch", "uid": "u"}, "spec": {"suspend": True}, "status": {}}
    suspended = read_job(json.loads(json.dumps(job), object_hook=Document))
    gated = trouble(pod("", phase="Pending", node=None, problem="SchedulingGated: Scheduling is blocked due to non-empty scheduling gates"))
    running = JobState(name="prefetch", outcome=None)

    for state, troubles, words in ((suspended, [], "is suspended (spec.suspend)"), (running, [gated], "non-empty scheduling gates")):
        found = obstacle(state, [], troubles, [node()], "gpu-1")
        assert found is not None
        assert (found.category, found.patience_seconds) == ("admission-refused", 180)
        assert words in found.message


def test_a_quota_that_was_changed_in_between_is_waited_for() -> None:
    said = 'Error creating: Operation cannot be fulfilled on resourcequotas "gpus": the object has been modified; please apply your changes'
    found = obstacle(JobState(name="prefetch", outcome=None), [ClusterEvent(reason="FailedCreate", message=said)], [], [node()], "gpu-1")

    assert found is not None
    assert found.patience_seconds == 180
