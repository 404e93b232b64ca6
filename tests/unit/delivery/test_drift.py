"""What is not as it was recorded is found, and shown with the difference; what a server fills in is none."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from blocks.facts.argocd import Application, ApplicationSource
from blocks.facts.registry import Entry
from flows.delivery.application import SyncPolicy
from flows.delivery.drift import Drift, InGit, different, drifts, shown, without
from flows.spec import IgnoredDifference
from tests.support.examples import entry

COMMIT = "c" * 40
URL = "https://git.example/platform/models.git"
POLICY = SyncPolicy(
    repository=URL, values_file="environments/production/tiny/values.yaml", namespace="llm-production", automated=False, requester=""
)
APPLICATION = Application(
    name="tiny-production",
    namespace="argocd",
    sources=(ApplicationSource(repository=URL, path="environments/production/tiny/chart", value_files=("../values.yaml",)),),
    destination_namespace="llm-production",
    sync_status="Synced",
    conditions={},
)


RECORDED = entry(model="tiny", environment="production", fingerprint="a" * 64, helm_revision=None, git_commit=COMMIT)


def found(
    *,
    recorded: Entry = RECORDED,
    seen: Application | None = APPLICATION,
    live: tuple[str, ...] = (),
    policy: SyncPolicy = POLICY,
    **in_git: Any,
) -> tuple[Drift, ...]:
    says = InGit(**{"head": "d" * 40, "fingerprint": "a" * 64, "changed": (), **in_git})
    return drifts(recorded, "tiny-production", "argocd", policy, seen, says, live)


def test_what_is_as_it_was_recorded_is_no_drift() -> None:
    assert found() == ()


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({"seen": None}, "application", "There is no Argo CD Application tiny-production in argocd"),
        ({"policy": replace(POLICY, automated=True)}, "application", "does not sync by itself, as it must here"),
        ({"seen": replace(APPLICATION, automated=True)}, "application", "syncs by itself, and may only do so when a release asks"),
        ({"seen": replace(APPLICATION, destination_namespace="default")}, "application", "deploys to default"),
        ({"fingerprint": "b" * 64}, "git", "Git says candidate bbbbbbbbbbbb of tiny in production .* the registry candidate aaaaaaaaaaaa"),
        ({"fingerprint": None}, "git", "Git says nothing of tiny in production"),
        ({"changed": ("-replicas: 1", "+replicas: 2")}, "git", "Somebody changed tiny in production in Git since commit cccccccccccc"),
        ({"recorded": replace(RECORDED, git_commit=None)}, "git", "was not delivered from Git: release it again"),
        (
            {
                "seen": replace(APPLICATION, sync_status="OutOfSync", out_of_sync=("Deployment/tiny-production",)),
                "live": ("x: Git 1, live 3",),
            },
            "live",
            r"is not what Git says of tiny in production \(Deployment/tiny-production\)",
        ),
    ],
)
def test_each_kind_of_drift_is_found_alone_and_says_what_to_do(given: dict[str, Any], kind: str, says: str) -> None:

    (drift,) = found(**given)

    assert drift.kind == kind
    assert re.search(says, drift.message), drift.message
    assert drift.difference == (given.get("changed") or given.get("live") or ())


def test_all_kinds_are_found_together() -> None:
    seen = replace(APPLICATION, automated=True, sync_status="OutOfSync")

    assert [drift.kind for drift in found(seen=seen, fingerprint="b" * 64)] == ["application", "git", "live"]


def test_what_looks_like_a_secret_is_not_shown_and_long_differences_are_cut() -> None:
    lines = shown(["+token: hf_" + "a1B2" * 8, *(f"+line {number}" for number in range(30))])

    assert lines[0] == "+token: ***"
    assert lines[-1] == "… 11 more lines"
    assert len(lines) == 21


LIVE = {
    "metadata": {"name": "tiny", "uid": "1", "labels": {"a": "b", "theirs": "x"}},
    "spec": {
        "replicas": 3,
        "template": {"spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "16", "memory": "48Gi"}}, "image": "x"}]}},
    },
    "status": {"replicas": 3},
}


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        ({"spec": {"replicas": 3}, "metadata": {"labels": {"a": "b"}, "annotations": {}}}, []),
        ({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": 16, "memory": "49152Mi"}}}]}}}}, []),
        ({"spec": {"replicas": 1}}, ["spec.replicas: Git 1, live 3"]),
        ({"metadata": {"labels": {"c": "d"}}}, ["metadata.labels.c: Git 'd', live None"]),
        (
            {"spec": {"template": {"spec": {"containers": [{"image": "y"}]}}}},
            ["spec.template.spec.containers[0].image: Git 'y', live 'x'"],
        ),
        (
            {"spec": {"template": {"spec": {"containers": []}}}},
            [f"spec.template.spec.containers: Git [], live {LIVE['spec']['template']['spec']['containers']!r}"],
        ),  # type: ignore[index]
    ],
)
def test_only_what_git_wants_is_compared(wanted: dict[str, Any], lines: list[str]) -> None:
    assert different(wanted, LIVE) == lines


def test_fields_that_may_differ_are_left_out_of_the_object_that_they_are_ignored_of() -> None:
    here = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "tiny", "annotations": {"example.com/injected": "yes", "own": "1"}},
        "spec": {"containers": [{"name": "vllm", "env": [1]}, {"name": "other"}]},
    }

    def left(group: str, name: str, *pointers: str) -> Any:
        return without(here, [IgnoredDifference(kind="Deployment", group=group, name=name, json_pointers=pointers)])

    assert left("apps", "", "/metadata/annotations/example.com~1injected")["metadata"]["annotations"] == {"own": "1"}
    assert left("apps", "tiny", "/spec/containers/0/env")["spec"]["containers"][0] == {"name": "vllm"}
    assert left("apps", "", "/spec/containers/1")["spec"]["containers"] == [{"name": "vllm", "env": [1]}, None]
    # another object, another group, or nothing there
    for others in (("apps", "big"), ("", "")):
        assert left(*others, "/spec/containers") == here
    assert left("apps", "", "/spec/nothing/here", "/spec/containers/7/env", "/spec/containers/x") == here


def test_a_difference_that_is_ignored_is_no_drift() -> None:
    ignored = replace(POLICY, ignored=(IgnoredDifference(kind="Deployment", group="apps", json_pointers=("/spec/x",)),))
    seen = replace(APPLICATION, sync_status="OutOfSync", out_of_sync=("Deployment/tiny",))
    assert found(seen=seen, policy=ignored) == ()
    assert [one.kind for one in found(seen=seen, policy=ignored, live=("Deployment/tiny spec.y: Git 1, live 2",))] == ["live"]
    assert [one.kind for one in found(seen=seen)] == ["live"]
