"""Revalidation can say no, and can say yes again."""

from __future__ import annotations

import hashlib
import json

from kubernetes.client import AppsV1Api
from kubernetes.config import new_client_from_config

from flows.naming import release_name
from flows.node.layout import snapshot_folder
from flows.release import release
from flows.revalidate import revalidate
from tests.flows.conftest import Site


def test_what_answers_wrongly_is_degraded_and_what_recovers_is_ready_again(site: Site) -> None:
    # where nothing is live, nothing is wrong
    assert site.run(revalidate, scrub=False).is_completed()

    # given a live entry that answers
    assert site.release().is_completed()
    assert site.run(revalidate, scrub=False).is_completed()
    with site.registry() as registry:
        (entry,) = registry.entries(model=site.model)
    assert entry.status == "ready"
    assert entry.last_health_check_at is not None

    # when its engine begins to talk nonsense
    site.world.engine_faults.set(site.model, garbage=True)
    ended = site.run(revalidate, scrub=False)

    # then it is no longer routed, and the run says why
    assert ended.name == "Failed"
    assert ended.message is not None
    assert f"{site.model} in development: failed" in ended.message
    assert site.statuses() == {"development": "degraded"}

    # and it blocks promotion
    promotion = site.run(release, model=site.model, environments=["staging"])
    assert promotion.message is not None
    assert "is degraded in development" in promotion.message

    # when it has recovered
    site.world.engine_faults.clear()
    assert site.run(revalidate, scrub=False).is_completed()

    # then it is routed again
    assert site.statuses() == {"development": "ready"}
    with site.registry() as registry:
        kinds = [event.kind for event in registry.events.latest(model=site.model)]
    assert kinds[:4] == ["recovered", "verified", "degraded", "verified"]

    # when its endpoint errs, then that is seen where its environment is looked at
    site.world.engine_faults.set(site.model, error_status=500)
    assert site.run(revalidate, environments=["production"], scrub=False).is_completed()
    assert site.statuses() == {"development": "ready"}
    assert site.run(revalidate, environments=["development"], scrub=False).name == "Failed"
    assert site.statuses() == {"development": "degraded"}


def test_damaged_weights_are_found_taken_away_and_fetched_again(site: Site) -> None:
    # given a live entry, whose weights on the node rot
    site.publish_own()
    assert site.release().is_completed()
    with site.registry() as registry:
        (entry,) = registry.entries(model=site.model)
    folder = snapshot_folder(site.repository, entry.hub_revision)
    (weights,) = site.world.folder.glob(f"cluster/**/{folder}/model.safetensors")
    whole = weights.read_bytes()
    weights.chmod(0o644)
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    # when the nightly run looks, and the engine talks nonsense besides
    site.world.engine_faults.set(site.model, garbage=True)
    worse = site.run(revalidate)

    # then the worst comes first, and what was damaged is named all the same
    assert worse.name == "Failed"
    assert worse.message is not None
    assert worse.message.startswith(f"1 of 1 live entries do not answer as they should; {site.model} in development: failed")
    assert f"Also: Weights on 1 node(s) were damaged and taken away; those that serve were fetched again. gpu-1: {folder}." in worse.message
    assert weights.read_bytes() == whole

    # when they rot again and it answers well
    site.world.engine_faults.clear()
    weights.chmod(0o644)
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    run = site.start(revalidate)
    ended = site.leg(revalidate, run)

    # then it says so, and the node has the right bytes again, as the run showed
    assert ended.name == "Errored"
    assert ended.message is not None
    assert f"gpu-1: {folder}" in ended.message
    assert weights.read_bytes() == whole
    shown = site.shown(run)
    assert shown["prefetch-development-gpu-1"] == 100.0
    # and its pages have what was found before, and on the node
    assert f"| {site.model} in development | passed" in shown["revalidation"]
    assert {row["outcome"] for row in json.loads(shown["revalidation-measurements"])} == {"passed"}
    assert [row["node"] for row in json.loads(shown["scrub"])] == ["gpu-1"]
    # and the registry keeps it
    with site.registry() as registry:
        event = next(event for event in registry.events.latest(limit=20) if event.kind == "scrubbed")
        evidence = registry.evidence.get(str(event.detail["evidence_sha256"])) or {}
    assert event.detail["snapshots"] == [folder]
    assert evidence["scrub"]["corrupt"] == [hashlib.sha256(whole).hexdigest()]  # type: ignore[index]

    # and the next night finds everything sound
    assert site.run(revalidate).is_completed()


def test_what_somebody_sets_beside_helm_is_named_and_taken_back_by_the_next_release(site: Site) -> None:
    # given a live entry, whose Kubernetes Deployment gets one more variable: Helm's own apply would leave it
    assert site.release().is_completed()
    namespace, name = site.namespaces[0], release_name(site.model, "development")
    with new_client_from_config(str(site.world.cluster.kubeconfig)) as api:
        apps = AppsV1Api(api)
        more = {"spec": {"template": {"spec": {"containers": [{"name": "vllm", "env": [{"name": "VLLM_TRACE", "value": "1"}]}]}}}}
        apps.patch_namespaced_deployment(name, namespace, more, field_manager="kubectl-set")

        # when the nightly run looks
        ended = site.run(revalidate, environments=["development"], scrub=False)

        # then it names object, field, who set it, and the cure
        assert ended.name == "Failed"
        assert ended.message is not None
        assert f"Deployment/{name} .spec.template.spec.containers[vllm].env[VLLM_TRACE] was set by kubectl-set" in ended.message
        assert "release it again, which takes that back" in ended.message

        # when it is released again
        assert site.release().is_completed()

        # then it is gone, on record, and the evidence says that what runs is what was rendered
        (container,) = apps.read_namespaced_deployment(name, namespace).spec.template.spec.containers
        assert "VLLM_TRACE" not in {variable.name for variable in container.env}
    with site.registry() as registry:
        events = registry.events.latest(model=site.model)
        taken = next(event for event in events if event.kind == "fields_taken_back")
        verified = next(event for event in events if event.kind == "verified")
        evidence = registry.evidence.get(str(verified.detail["evidence_sha256"])) or {}
    assert taken.detail["owners"] == ["kubectl-set"]
    seen = {each["name"]: each["seen"] for each in evidence["verdict"]["measurements"]}  # type: ignore[index,call-overload]
    assert (seen["as-rendered"], seen["pod-containers"]) == ("the same", "no other")
    assert site.run(revalidate, environments=["development"], scrub=False).is_completed()
