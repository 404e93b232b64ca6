"""What a real kubelet and the real controllers did, scene by scene, and what the sandbox's do: the same states in the same order, and the
same words. Times are the recorded machine's; only how long a back-off is, is compared by what comes after it."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

import pytest

from tests.contract.recorded_kubelet import RECORDING, Scene, Seen, recorded, replayed, scenes, stable

pytestmark = pytest.mark.skipif(not RECORDING.is_file(), reason=f"the recording is not here: {RECORDING}")

NAMES = (
    *("01-deployment", "02-termination", "02-upgrade-in-place", "02-upgrade-surge", "03-crash-loop", "04-images", "05-config", "06-limits"),
    *("07-probes", "08-job-deleted", "08-job-pod-security", "08-job-quota", "08-job-unschedulable", "08-jobs", "09-force-and-evict"),
    *("10-node", "11-progress", "11-quota", "12-proxy-and-logs"),
)

#: How much longer a scene is replayed than it was recorded: containers start at once here, and took up to five seconds there.
LONGER_SECONDS = 20.0

#: What is not the same, and why.
DIFFERENT: Mapping[str, Mapping[str, str]] = {
    "05-config": {
        "Pod/subpath-read-only": "a folder of the recorded machine",
        "Pod/volume-folder-gone": "a folder of the recorded machine",
    },
    "06-limits": dict.fromkeys(
        ("Pod/empty-dir", "Pod/oom", "Pod/oom-never", "Pod/oom-child", "Pod/owned-*", "Pod/storage"),
        "memory is that of real processes (tests/sandbox/test_node_containers.py), and disks are not measured",
    ),
    "08-jobs": {
        "Job/on-failure-0": "the second start took long enough there for the Job to hear of the time between",
        "Job/ttl-failed": "its pod ran long enough there for the Job to hear of it",
        "Pod/on-failure-2-*": "the container ended as its Job told the pod to go",
    },
}

#: Words that are not the same, and why: (reason, beginning of what follows it).
OTHER_WORDS = (
    ("Unhealthy", ""),  # which probe met the end of its program, and how
    ("Failed", "Failed to pull image"),  # here every image that is not known is not found; there one was refused and one unreachable
    ("Pulled", ""),
    ("Pulling", ""),  # the first use of an image on a node is a pull here
    ("TaintManagerEviction", "Cancelling deletion"),  # not emulated
    ("FailedScheduling", ""),  # how often a pod was looked at, and what else was on that node
    ("FailedMount", "MountVolume.NewMounter"),
    ("Failed", "Error: failed to create subPath"),
)


@functools.cache
def _scenes() -> Mapping[str, Scene]:
    return scenes()


@functools.cache
def _both(name: str) -> tuple[Scene, Seen, Seen]:
    scene = _scenes()[name]
    return scene, recorded(scene), replayed(scene, scene.seconds + LONGER_SECONDS)


def test_every_scene_is_replayed() -> None:
    assert set(_scenes()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_states_are_the_recorded_ones(name: str) -> None:
    scene, theirs, ours = _both(name)
    differing = {key for key in (theirs.states.keys() | ours.states.keys()) if key.startswith(("Pod/", "Job/")) and not _agree(scene, key)}
    assert differing <= DIFFERENT.get(name, {}).keys(), _shown(scene, sorted(differing - DIFFERENT.get(name, {}).keys()))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"06-limits"}))
def test_what_is_told_is_told_in_the_same_words(name: str) -> None:
    _, theirs, ours = _both(name)
    for key in theirs.events.keys() - DIFFERENT.get(name, {}).keys():
        if key.startswith("ReplicaSet/"):
            continue  # its name is the hash of its template, and what it does shows in its pods
        there, here = _words(theirs, key), _words(ours, key)
        assert there - here == set(), key


def test_a_difference_would_be_noticed() -> None:
    scene, theirs, _ = _both("03-crash-loop")
    (states,) = theirs.sequences("Pod/exits-1", scene.seconds)
    assert _follows(states, states, scene.seconds)
    assert not _follows(states, [*states[:3], *states[4:]], scene.seconds)
    assert not _follows(states, states[:-1], scene.seconds)
    assert not _follows(states, [*states, (1.0, "Running")], scene.seconds)


def _agree(scene: Scene, key: str) -> bool:
    """Whether each object that was recorded has one here that went the same way, and there are no others."""
    _, theirs, ours = _both(scene.name)
    left = ours.sequences(key, scene.seconds + LONGER_SECONDS)
    for states in theirs.sequences(key, scene.seconds):
        found = next((other for other in left if _follows(states, other, scene.seconds)), None)
        if found is None:
            return False
        left.remove(found)
    # What began in the time that was not recorded.
    return all(states[0][0] > scene.seconds - LONGER_SECONDS for states in left)


def _follows(states: list[tuple[float, str]], other: list[tuple[float, str]], seconds: float) -> bool:
    """Whether the other begins with these states; it may go on where the recording was about to end."""
    texts, more = [text for _, text in states], other[len(states) :]
    return [text for _, text in other[: len(states)]] == texts and all(t > seconds - LONGER_SECONDS for t, _ in more)


def _words(seen: Seen, key: str) -> set[tuple[str, str]]:
    """What was told of an object, without numbers and names that were made up."""
    found = set()
    for reason, message in seen.events.get(key, {}):
        if any(reason == other and message.startswith(begin) for other, begin in OTHER_WORDS):
            continue
        message = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", message)
        message = re.sub(r'"(\S+)-[bcdfghjklmnpqrstvwxz2456789]{5}"', r'"\1-*"', message)
        message = re.sub(r"replica set (\S+)-[a-z0-9]+", r"replica set \1-*", message)
        found.add((reason, " ".join(stable(word) if "_" not in word else re.sub(r"\S+_", "POD_", word) for word in message.split(" "))))
    return found


def _shown(scene: Scene, keys: list[str]) -> str:
    _, theirs, ours = _both(scene.name)
    lines = []
    for key in keys:
        for who, seen, until in (("recorded", theirs, scene.seconds), ("here", ours, scene.seconds + LONGER_SECONDS)):
            lines += [f"{key}, {who}:"] + [f"  {t:6.1f} {text}" for states in seen.sequences(key, until) for t, text in states]
    return "\n".join(lines)
