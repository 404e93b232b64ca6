"""The doctor on a real Prefect server, registry, Helm and cluster: it finds nothing where all is well, and mends what is not."""

from __future__ import annotations

import json
import uuid
from typing import Any

import psycopg
import pytest
import yaml
from kubernetes.client import AppsV1Api, CoreV1Api
from kubernetes.config import new_client_from_config
from prefect.states import Cancelled
from typer.testing import CliRunner

from blocks.cluster import Cluster
from flows.cli.app import app
from flows.doctor.prefect_site import prefect_facts
from flows.doctor.rules.facts import WantedDeployment
from flows.naming import release_name
from flows.release import release
from flows.spec import Deployments
from flows.sweep import sweep
from flows.weights.job import RUN_LABEL
from tests.flows.conftest import Site
from tests.support.helm_records import read_record, write_record


def doctor(site: Site, *options: str) -> dict[str, dict[str, Any]]:
    """What it finds of this site, by kind; the rest is of the server that all tests share."""
    done = CliRunner().invoke(app, ["doctor", "--json", *options])
    assert done.exit_code == 1, done.output  # the tests' server has no work pool
    found = {each["kind"]: each for each in json.loads(done.stdout)}
    assert "no-work-pool" in found
    return {kind: each for kind, each in found.items() if site.model in each["about"] or site.name in each["about"]}


def test_what_does_not_fit_is_found_and_mended(site: Site) -> None:
    # given a model that serves, then everything fits
    assert site.release().is_completed()
    assert doctor(site) == {}

    # when somebody sets a field beside Helm, then it is told with its owner, and left to people
    name, namespace = release_name(site.model, "development"), f"development-{site.name}"
    with new_client_from_config(str(site.world.cluster.kubeconfig)) as api:
        apps = AppsV1Api(api)
        apps.patch_namespaced_deployment(name, namespace, {"spec": {"minReadySeconds": 1}}, field_manager="kubectl-edit")
        (drift,) = doctor(site).values()
        apps.patch_namespaced_deployment(name, namespace, {"spec": {"minReadySeconds": None}}, field_manager="kubectl-edit")
    assert (drift["kind"], drift["fixable"]) == ("drift-rendered", False)
    assert f"Deployment/{name} .spec.minReadySeconds was set by kubectl-edit" in drift["sentence"]
    assert drift["command"].startswith(f"slipway release {site.model} --revision ")
    assert doctor(site) == {}

    # when a run was cancelled and nobody cleaned up after it
    run = site.start(release, model=site.model, environments=["staging"])
    with site.registry() as registry:
        (entry,) = registry.entries(model=site.model)
        assert entry.fingerprint is not None
        registry.lifecycle.begin(
            model=site.model,
            hub_revision=entry.hub_revision,
            environment="staging",
            namespace=f"staging-{site.name}",
            endpoint="nowhere:8000",
            fingerprint=entry.fingerprint,
            run_id=str(run.id),
        )
        # and another one holds a lock, that is gone altogether
        registry.locks.take(site.model, "production", str(uuid.uuid4()))
    site.client.set_flow_run_state(run.id, Cancelled(), force=True)
    with psycopg.connect(site.database) as connection:
        connection.execute("UPDATE slipway_locks SET heartbeat_at = heartbeat_at - interval '61 seconds'")
    # and a Job of the first runs on, and Helm was killed
    with Cluster(kubeconfig=site.world.cluster.kubeconfig).client() as cluster:
        cluster.jobs.create(f"development-{site.name}", job(f"prefetch-{site.name}", str(run.id)), {})
    kill_helm(site)

    # then each is found, with what mends it
    found = doctor(site)
    assert sorted(found) == ["dead-lock", "orphan-job", "stuck-release", "unfinished"]
    assert all(each["fixable"] and each["fixed"] is None and each["command"] for each in found.values())
    assert str(run.id) in found["unfinished"]["sentence"]

    # and mended, for good
    mended = doctor(site, "--fix")
    assert {kind: each["done"] for kind, each in mended.items() if not each["fixed"]} == {}
    assert doctor(site) == {}
    assert site.statuses() == {"development": "ready", "staging": "failed"}
    assert site.ask("The capital of France is") == " Paris."
    # what it could not do is said, and counts
    done = CliRunner().invoke(app, ["doctor", "--fix"])
    assert done.exit_code == 1
    assert "custom-webhook/slipway" in "".join(done.stdout.split())


def test_what_prefect_lacks_is_seen(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    pool, name = f"pool-{site.name}", f"sweep-{site.name}"
    manifest = tmp_path_factory.mktemp("manifest") / "prefect.yaml"
    wanted = {"name": name, "entrypoint": "flows.sweep.sweep", "description": "x", "work_pool": {"name": pool}}
    manifest.write_text(yaml.safe_dump({"deployments": [{**wanted, "schedules": [{"cron": "*/2 * * * *"}]}]}))

    before = prefect_facts(Deployments.default(), manifest)
    assert (before.deployed, before.pools) == ({}, {})
    assert before.wanted[name].parameters == {"silent_seconds", "pending_seconds", "form_seconds"}
    assert before.blocks_wanted - before.blocks == {"custom-webhook/slipway"}
    assert before.automations_wanted >= {"slipway runs", "slipway approvals"}

    sweep.to_deployment(name, cron="*/2 * * * *", description="x").apply()  # type: ignore[union-attr]
    there = prefect_facts(Deployments.default(), manifest).deployed[name]
    assert isinstance(there, WantedDeployment)
    assert there.concurrency_limit is None
    assert (there.crons, there.parameters, there.active) == (("*/2 * * * *",), {"silent_seconds", "pending_seconds", "form_seconds"}, True)

    # a limit that somebody gave it may cancel every run without a word; deploying again takes it away
    sweep.to_deployment(name, cron="*/2 * * * *", description="x", concurrency_limit=1).apply()  # type: ignore[union-attr]
    assert prefect_facts(Deployments.default(), manifest).deployed[name].concurrency_limit == 1
    sweep.to_deployment(name, cron="*/2 * * * *", description="x").apply()  # type: ignore[union-attr]
    assert prefect_facts(Deployments.default(), manifest).deployed[name].concurrency_limit is None


def job(name: str, run_id: str) -> dict[str, Any]:
    """A Job that never begins: no node knows its image."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "x", "image": f"nowhere/nothing@sha256:{'0' * 64}"}]}
    labels = {"app.kubernetes.io/managed-by": "slipway", RUN_LABEL: run_id}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


def kill_helm(site: Site) -> None:
    """Leave what an upgrade leaves that was killed a while ago: a record that says that it is pending."""
    namespace = f"development-{site.name}"
    with new_client_from_config(str(site.world.cluster.kubeconfig)) as api:
        core = CoreV1Api(api)
        (secret,) = core.list_namespaced_secret(namespace, label_selector="owner=helm").items
        record = read_record(secret.data["release"])
        record["version"] += 1
        record["info"] |= {"status": "pending-upgrade", "last_deployed": "2026-01-01T00:00:00Z"}
        labels = {**secret.metadata.labels, "status": "pending-upgrade", "version": str(record["version"])}
        name = f"{secret.metadata.name.removesuffix('.v1')}.v{record['version']}"
        body = {"metadata": {"name": name, "labels": labels}, "type": secret.type, "data": {"release": write_record(record)}}
        core.create_namespaced_secret(namespace, body)
