"""What serves something else is found out, however healthy it is."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.facts import Container, ServedModel
from flows.spec import InjectionPolicy, KnownContainer
from flows.verification.identity import check_containers, check_health, check_models, check_pods, check_version, serving
from flows.weights.prefetch import mount_path, snapshot_digest_of
from tests.support.examples import candidate, pod


@pytest.mark.parametrize(
    "change", [{"name": "other"}, {"root": "/models/slipway-demo--tiny-llama/" + "f" * 40}, {"max_model_len": 128}], ids=str
)
def test_an_endpoint_that_serves_something_else_fails(change: dict[str, Any]) -> None:
    right: dict[str, Any] = {"name": "tiny-llama", "root": mount_path(candidate()), "max_model_len": 256}
    good, bad = [ServedModel(**right)], [ServedModel(**{**right, **change})]

    assert check_models({"the endpoint": good, "pod-0": good}, candidate()).outcome == "passed"
    assert check_models({"the endpoint": bad, "pod-0": good}, candidate()).outcome == "failed"
    # an engine may serve under several names, and lists a line for each
    assert check_models({"the endpoint": [ServedModel(**{**right, "name": "alias"}), *good]}, candidate()).outcome == "passed"
    # of several lines with its name all must be right, and of a thousand others a few are named
    if change.keys() != {"name"}:
        assert check_models({"the endpoint": [*good, *bad]}, candidate()).outcome == "failed"
    others = [ServedModel(**{**right, "name": f"adapter-{number}"}) for number in range(1000)]
    assert len(check_models({"the endpoint": others}, candidate()).seen) < 200
    # a Service answers for any of its pods: each is asked by itself
    measured = check_models({"the endpoint": good, "pod-0": good, "pod-1": bad}, candidate())
    assert (measured.outcome, measured.seen.endswith("(pod-1)")) == ("failed", True)
    assert check_models({"the endpoint": []}, candidate()).outcome == "failed"


def right_pod(**changes: Any) -> Any:
    fields: dict[str, Any] = {
        "weights_digest": snapshot_digest_of(candidate()),
        "annotations": {"slipway.dev/fingerprint": candidate().fingerprint},
        "image": candidate().image,
    }
    return pod(candidate().label, **{**fields, **changes})


@pytest.mark.parametrize(
    ("wrong", "fails"),
    [
        ({"labels": {"slipway.dev/candidate": "0" * 40}}, "pods"),
        ({"labels": {}}, "pods"),
        ({"annotations": {"slipway.dev/fingerprint": candidate().label + "0" * 24}}, "pod-fingerprint"),
        ({"annotations": {}}, "pod-fingerprint"),
        ({"image": "slipway-sandbox/vllm-openai@sha256:" + "0" * 64}, "pod-image"),
        ({"weights_digest": "0" * 64}, "pod-weights"),
        ({"weights_digest": ""}, "pod-weights"),
    ],
)
def test_every_pod_must_be_the_candidates(wrong: dict[str, Any], fails: str) -> None:
    assert {measured.outcome for measured in check_pods([right_pod(), right_pod()], candidate())} == {"passed"}

    measured = check_pods([right_pod(), right_pod(**wrong)], candidate())

    assert [m.name for m in measured if m.outcome == "failed"] == [fails]


ENGINE = Container(name="vllm", image="engine@sha256:0")
MESH = Container(name="istio-proxy", image="docker.io/istio/proxyv2:1.29", kind="sidecar")
DEBUG = Container(name="debugger-x", image="busybox", kind="debug")


@pytest.mark.parametrize(
    ("containers", "policy", "outcome", "says"),
    [
        ((ENGINE,), {}, "passed", "no other"),
        # named, and not taken for the engine, wherever it stands
        ((MESH, ENGINE), {}, "passed", "sidecar (init container) istio-proxy of docker.io/istio/proxyv2:1.29 (reported)"),
        ((MESH, ENGINE), {"others": "gate"}, "failed", "istio-proxy"),
        ((MESH, ENGINE), {"others": "gate", "known": [{"name": "istio-proxy"}]}, "passed", "no other"),
        ((MESH, ENGINE), {"others": "gate", "known": [{"name": "istio-proxy", "image": "docker.io/istio/proxyv2"}]}, "passed", "no other"),
        # another program under a known name
        ((MESH, ENGINE), {"others": "gate", "known": [{"name": "istio-proxy", "image": "docker.io/istio/proxy"}]}, "failed", "istio-proxy"),
        ((ENGINE, DEBUG), {"others": "gate"}, "failed", "debug container debugger-x of busybox"),
    ],
)
def test_what_is_injected_is_judged_by_the_environments_policy(
    containers: tuple[Container, ...], policy: dict[str, Any], outcome: str, says: str
) -> None:
    known = tuple(KnownContainer(**each) for each in policy.get("known", ()))
    measured = check_containers([right_pod(containers=containers)], InjectionPolicy(**{**policy, "known": known}))

    assert measured.outcome == outcome
    assert says in measured.seen


def test_no_pod_is_no_candidate() -> None:
    assert {measured.outcome for measured in check_pods([], candidate())} == {"failed"}


def test_only_pods_that_take_traffic_are_looked_at() -> None:
    assert serving([right_pod(), right_pod(ready=False), right_pod(terminating=True)]) == [right_pod()]


@pytest.mark.parametrize(
    ("versions", "known", "outcome"),
    [
        (["0.32.0", "0.32.0"], None, "passed"),
        (["0.32.0"], "0.32.0", "passed"),
        (["0.32.0", "0.31.0"], None, "failed"),
        (["0.32.0"], "0.31.0", "failed"),
        ([], None, "failed"),
    ],
)
def test_one_image_is_one_version(versions: list[str], known: str | None, outcome: str) -> None:
    assert check_version(versions, known).outcome == outcome


@pytest.mark.parametrize(("status", "outcome"), [(200, "passed"), (503, "failed"), (404, "failed"), (None, "failed")])
def test_health_is_200_and_nothing_else(status: int | None, outcome: str) -> None:
    assert check_health(status).outcome == outcome


def test_a_model_in_a_folder_of_its_repository_is_served_from_there() -> None:
    inside = candidate(subfolder="fp8")
    served = {"name": "tiny-llama", "max_model_len": 256}

    assert check_models({"the endpoint": [ServedModel(root=f"{mount_path(inside)}/fp8", **served)]}, inside).outcome == "passed"
    assert check_models({"the endpoint": [ServedModel(root=mount_path(inside), **served)]}, inside).outcome == "failed"
