"""What a real kubelet and its controllers showed (Kubernetes 1.36.2), read as it was at each second: what is wrong with every pod, and
whether a rollout goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blocks.cluster.nodes import read_node
from blocks.cluster.pods import read_events, read_pod
from blocks.cluster.rollouts import read_rollout
from blocks.facts import Pod, Trouble
from blocks.kubernetes_api import Document
from flows.rollout.containers import container_finding
from flows.rollout.diagnosis import REMEDIES, Diagnosis, silent_nodes
from flows.rollout.finding import Finding
from flows.rollout.judge import Restarts, judge_rollout
from flows.rollout.scheduling import Holders, scheduling_finding
from tests.support.examples import node
from tests.support.recorded_kubelet import RECORDING, Moment, moments, scenes

pytestmark = pytest.mark.skipif(not RECORDING.exists(), reason="the recordings are not on this machine (../shared/kubernetes)")

#: What is to be said of each pod: from when, the diagnosis, how long it is waited for, words of the sentence. `well`: nothing is wrong any
#: longer. The times are those at which the kubelet said it; not one more change of diagnosis or patience may come.
PODS: dict[str, dict[str, list[tuple[float, str, float | None, str]]]] = {
    "03-crash-loop": {
        # a first end may be the last; after the second the state goes on being `terminated` for nearly all of the wait
        "exits-1": [(2.5, "crash-loop", None, "Error with exit code 1, 0 restart(s): cannot"), (3.7, "crash-loop", 0, "1 restart(s)")],
        "exits-0": [(5.8, "crash-loop", 0, "Completed with exit code 0, 1 restart(s)")],
        "runs-12": [(14.9, "crash-loop", None, "0 restart(s)"), (28.0, "crash-loop", 0, "1 restart(s)")],
        "init-always": [(2.5, "weights-refused", 0, "refused the snapshot on node rk-1: wrong")],
        "init-never": [(2.5, "weights-refused", 0, "refused the snapshot on node rk-1")],
        "never": [(2.5, "crash-loop", None, "Error with exit code 3")],
    },
    "04-images": {
        # ErrImagePull and ImagePullBackOff take turns: the same is said of both
        "gone": [(2.8, "image-not-found", 0, "127.0.0.1:5055/gone/app:1")],
        "gone-digest": [(4.1, "image-not-found", 0, "127.0.0.1:5055/gone/app@sha256:aa")],
        "unreachable": [(6.7, "image-not-pulled", None, "127.0.0.1:5056/some/app:1")],
        "in-init": [(6.7, "image-not-found", 0, "127.0.0.1:5055/gone/app:2")],
        "never": [(7.8, "image-not-found", 0, "pull policy of Never")],
        "private": [(7.9, "image-pull-denied", 0, "127.0.0.1:5055/private/app:1")],
        "invalid": [(7.9, "image-not-found", 0, "Not/An//Image:Name")],
    },
    "05-config": {
        "claim-missing": [(0.8, "container-refused", 180, 'persistentvolumeclaim "no-claim" not found')],
        "secret-item": [(1.1, "container-refused", 180, "non-existent secret key: token")],
        "configmap-item": [(1.1, "container-refused", 180, "configmap references non-existent config key: missing")],
        # the Secret was made at 45 s
        "secret-volume": [(1.1, "container-refused", 180, 'secret "no-secret" not found'), (65.1, "well", None, "")],
        "secret-env": [(5.1, "container-refused", 0, 'secret "no-secret" not found'), (50.0, "well", None, "")],
        "volume-folder-gone": [(1.2, "container-refused", 0, "make that folder on the node")],
        "configmap-from": [(6.5, "container-refused", 0, 'configmap "no-settings" not found')],
        "configmap-key": [(6.6, "container-refused", 0, "couldn't find key missing in ConfigMap")],
        "secret-key": [(6.9, "container-refused", 0, "couldn't find key token in Secret")],
        "root-refused": [(8.0, "container-refused", 0, "runAsNonRoot and image will run as root")],
        "subpath-read-only": [(8.0, "weights-missing", 0, "failed to create subPath directory")],
        # a start that fails is told as such also while it waits for the next one
        "no-program": [(9.0, "container-refused", 0, "failed to create containerd task")],
        "no-program-path": [(9.0, "container-refused", 0, "failed to create containerd task")],
        "not-executable": [(9.0, "container-refused", 0, "failed to create containerd task")],
        "no-program-never": [(9.1, "container-refused", 0, "failed to create containerd task")],
    },
    "06-limits": {
        "oom": [(8.4, "out-of-memory", 0, "more memory than its limit")],
        "oom-never": [(8.4, "out-of-memory", 0, "more memory than its limit")],
        "storage": [(18.1, "scratch-full", None, "ephemeral local storage usage exceeds the total limit of containers 20Mi")],
        "empty-dir": [(44.4, "scratch-full", None, 'Usage of EmptyDir volume "v" exceeds the limit "20Mi"')],
        "owned-79f7f85655-xskb4": [(20.3, "scratch-full", None, "Evicted")],
        "owned-79f7f85655-fpgkl": [(48.4, "scratch-full", None, "Evicted")],
        "owned-79f7f85655-bvx9g": [(73.7, "scratch-full", None, "Evicted")],
        "owned-79f7f85655-p297p": [(87.0, "scratch-full", None, "Evicted")],
        "owned-79f7f85655-tjz6h": [(101.8, "scratch-full", None, "Evicted")],
    },
    "07-probes": {
        "startup": [(9.3, "killed-while-loading", 0, "not loaded when its load budget ended")],
        # killed by its probe it ends well (exit code 0), and runs again in the same moment
        "liveness": [(18.5, "hung-engine", 0, "stopped answering its health check")],
        "exec": [(69.4, "hung-engine", 0, "stopped answering its health check")],
    },
    "10-node": {
        # the taint of a silent node is no reason to label another one
        "goes-795794b954-m9d88": [(67.6, "node-lost", None, "node(s) rk-1 do not report"), (116.0, "well", None, "")],
        "stays-c4899d5d5-krwvn": [(184.1, "no-matching-node", 0, "1 node(s) were unschedulable"), (196.1, "well", None, "")],
    },
    "11-progress": {
        "crash-56bfcbc894-7w5hv": [(2.2, "crash-loop", None, "0 restart(s)"), (3.2, "crash-loop", 0, "1 restart(s)")],
        # mended at 32 s
        "good-then-bad-5b9c7bf746-d5925": [(4.3, "image-not-found", 0, "127.0.0.1:5055/gone/app:1")],
    },
    "12-proxy-and-logs": {
        "waits": [(3.3, "image-not-found", 0, "127.0.0.1:5055/gone/app:1")],
        "crashes": [(10.0, "crash-loop", None, "Error with exit code 5"), (16.7, "crash-loop", 0, "1 restart(s)")],
    },
}

#: Scenes in which no pod that stays is ever in trouble, but for the pods of Jobs, which `tests/unit/weights/test_obstacles.py` reads.
WELL = ("01-deployment", "02-termination", "02-upgrade-in-place", "02-upgrade-surge", "09-force-and-evict", "11-quota")
JOBS = ("08-job-deleted", "08-job-pod-security", "08-job-quota", "08-job-unschedulable", "08-jobs")


def finding(moment: Moment, pod: Pod) -> Finding | None:
    nodes = [read_node(one) for one in moment.of_kind("Node")]
    seen = Trouble(pod=pod, events=read_events(moment.events("Pod", pod.name)))
    return scheduling_finding(seen, Holders(silent=silent_nodes(nodes))) or container_finding(seen)


def told(scene: str) -> dict[str, list[tuple[float, str, float | None, str]]]:
    """What is said of each pod, at each change: seconds, diagnosis, patience, sentence."""
    stories: dict[str, list[tuple[float, str, float | None, str]]] = {}
    for moment in moments(scene):
        one = moment.objects.get(("Pod", moment.name)) if moment.kind == "Pod" else None
        if one is None or (pod := read_pod(one)).terminating:
            continue
        found = finding(moment, pod)
        story = stories.setdefault(pod.name, [])
        if found is None:
            # Only of a pod that something was told of. One that ended before it ran is not well.
            homeless = bool(story) and story[-1][1] in ("no-matching-node", "node-lost")
            if story and story[-1][1] != "well" and (pod.phase == "Running" or (homeless and pod.node is not None)):
                story.append((moment.seconds, "well", None, ""))
        elif not story or story[-1][1:3] != (found.category, found.patience_seconds):
            story.append((moment.seconds, found.category, found.patience_seconds, found.message))
    return {name: story for name, story in stories.items() if story}


def test_every_scene_is_looked_at() -> None:
    assert {*PODS, *WELL, *JOBS} == set(scenes())


@pytest.mark.parametrize("scene", [*PODS, *WELL])
def test_each_pod_is_diagnosed_as_it_was_at_each_second(scene: str) -> None:
    stories, expected = told(scene), PODS.get(scene, {})

    assert stories.keys() == expected.keys()
    for name, wanted in expected.items():
        assert [(category, patience) for _, category, patience, _ in stories[name]] == [each[1:3] for each in wanted], name
        for (seconds, category, _, sentence), (since, _, _, words) in zip(stories[name], wanted, strict=True):
            assert abs(seconds - since) < 0.2, name
            assert words in sentence
            assert category == "well" or REMEDIES[category].endswith(".")  # type: ignore[index]


def judged(scene: str, name: str, seconds: float = 0.0) -> list[tuple[float, str]]:
    """What a rollout is judged to be at each change, until it is complete or stalls; with the words of a stall.

    Args:
        scene: The scene.
        name: The Kubernetes Deployment.
        seconds: When the rollout that is watched begins.
    """
    story: list[tuple[float, str]] = []
    restarts = Restarts()
    for moment in moments(scene):
        deployment = moment.objects.get(("Deployment", name))
        if deployment is None or moment.seconds < seconds:
            continue
        verdict = _judged(moment, deployment, restarts, moment.seconds - seconds)
        now = f"{verdict.category}: {verdict.message}" if isinstance(verdict, Diagnosis) else verdict
        if not story or story[-1][1] != now:
            story.append((moment.seconds, now))
        if now != "progressing":
            break
    return story


def _judged(moment: Moment, deployment: Document, restarts: Restarts, waited: float) -> str | Diagnosis:
    """As `await_rollout` reads it. The recorder gave its pods no candidate's label: it is theirs who are of the newest template."""
    name, chosen = deployment.metadata.name, deployment.spec.selector.matchLabels.items()
    owned = [one for one in moment.of_kind("ReplicaSet") if chosen <= one.metadata.labels.items()]
    newest = max(
        owned, key=lambda one: int(one.metadata.annotations["deployment.kubernetes.io/revision"]), default=Document(metadata=Document())
    )
    template = (newest.metadata.labels or {}).get("pod-template-hash")
    pods = [
        replace(read_pod(one), labels={"slipway.dev/candidate": "new" if one.metadata.labels["pod-template-hash"] == template else "old"})
        for one in moment.of_kind("Pod")
        if chosen <= (one.metadata.labels or {}).items()
    ]
    slices = [one for one in moment.of_kind("EndpointSlice") if one.metadata.labels["kubernetes.io/service-name"] == name]
    seen = read_rollout(deployment, pods, slices)
    if not slices:  # the scene has no Service
        seen = replace(seen, routed=frozenset(pod.name for pod in pods if pod.ready))
    mine = [pod for pod in pods if pod.labels["slipway.dev/candidate"] == "new" and not pod.terminating]
    unsettled = restarts.unsettled(mine, waited)
    troubled = [pod for pod in mine if not pod.ready or pod in unsettled]
    return judge_rollout(
        seen,
        "new",
        waited,
        3600,
        troubles=[Trouble(pod=pod, events=read_events(moment.events("Pod", pod.name))) for pod in troubled],
        nodes=[read_node(one) for one in moment.of_kind("Node")] or [node("rk-1")],
        settled=not unsettled,
    )


@pytest.mark.parametrize(
    ("scene", "name", "begins", "end", "words"),
    [
        # ready at 14.0 s, by the probe that follows the startup probe at once
        ("01-deployment", "web", 0, 14.0, "complete"),
        # old pods may still end then: nobody is sent to them
        ("02-upgrade-surge", "web", 7.3, 17.3, "complete"),
        ("02-upgrade-in-place", "web", 7.1, 17.1, "complete"),
        # without a probe it is available and complete, by its Kubernetes Deployment, from its first second on
        ("11-progress", "crash", 0, 3.2, "crash-loop: pod crash-56bfcbc894-7w5hv, container vllm: Error with exit code 1, 1 restart(s)"),
        ("11-progress", "good-then-bad", 3.4, 4.3, "image-not-found: pod good-then-bad"),
        # its own progress deadline is 8 s, the next one's 20 s: no kubelet's word tells that it never becomes ready
        ("11-progress", "never-ready", 0, 8.3, "hung-engine: the engine loaded, but is not ready"),
        ("11-quota", "web", 0, 22.5, "quota-exceeded: FailedCreate: pods"),
        (
            "08-job-pod-security",
            "web",
            0,
            1.0,
            'admission-refused: FailedCreate: pods "web-b7d547dd4-gmbww" is forbidden: violates PodSecurity',
        ),
        # at the first second of the replacement; before that, the node is lost and may come back
        ("10-node", "stays", 184.0, 184.1, "no-matching-node: no node takes pod stays-c4899d5d5-krwvn"),
        ("10-node", "goes", 60.0, 118.3, "complete"),
    ],
)
def test_a_rollout_is_judged_as_it_was_at_each_second(scene: str, name: str, begins: float, end: float, words: str) -> None:
    *before, (seconds, last) = judged(scene, name, begins)

    assert {each for _, each in before} <= {"progressing"}
    assert words in last
    assert abs(seconds - end) < 0.6
