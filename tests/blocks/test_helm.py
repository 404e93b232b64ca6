"""The Helm block on the real `helm`: operations that were killed, and fields that somebody else owns."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from kubernetes.client import CoreV1Api
from kubernetes.config import new_client_from_config

from blocks.errors import HelmConflict, HelmRejected, HelmStuck, HelmUnreachable
from blocks.facts import HelmRevision
from blocks.helm import Helm, HelmClient
from flows.delivery.helm import repair_release
from flows.delivery.pending import require_idle
from sandbox.helm import helm_executable
from sandbox.world import World
from tests.support.helm_records import read_record, write_record

_CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}", namespace: "{{ .Release.Namespace }}"}
data: {carries: "{{ .Values.candidate.fingerprint }}"}
"""
# An operation that waits for this never ends: no node knows the image.
_DEPLOYMENT = """
{{- if .Values.endless }}
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}", namespace: "{{ .Release.Namespace }}"}
spec:
  selector: {matchLabels: {app: endless}}
  template:
    metadata: {labels: {app: endless}}
    spec: {containers: [{name: endless, image: "nowhere/nothing@sha256:%s"}]}
{{- end }}
""" % ("0" * 64)


@dataclass
class Stage:
    block: Helm
    namespace: str
    api: CoreV1Api
    name: str = "tiny"

    @property
    def client(self) -> HelmClient:
        return self.block.client()

    def install(self, fingerprint: str, *, force_conflicts: bool = False) -> HelmRevision:
        return self.client.upgrade(self.name, self.namespace, {"candidate": {"fingerprint": fingerprint}}, force_conflicts=force_conflicts)

    def kill_in_the_middle(self, fingerprint: str) -> HelmRevision:
        """Begin to put a candidate in place, and kill Helm while it waits."""
        command = [self.block.executable, "upgrade", self.name, self.block.chart, "--install", "--wait"]
        command += ["--namespace", self.namespace, "--kubeconfig", self.block.kubeconfig or ""]
        command += ["--set", f"candidate.fingerprint={fingerprint},endless=true"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while (seen := self.now()) is None or seen.fingerprint != fingerprint or self.carries() != fingerprint:
                assert process.poll() is None
                time.sleep(0.05)
            process.kill()
        return seen

    def now(self) -> HelmRevision | None:
        return self.client.current(self.name, self.namespace)

    def carries(self) -> str | None:
        found = [each for each in self.api.list_namespaced_config_map(self.namespace).items if each.metadata.name == self.name]
        return str(found[0].data["carries"]) if found else None


@pytest.fixture
def stage(world: World, tmp_path: Path) -> Iterator[Stage]:
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "chart", "version": "0.1.0"}))
    (chart / "templates" / "config.yaml").write_text(_CONFIG_MAP)
    (chart / "templates" / "endless.yaml").write_text(_DEPLOYMENT)
    block = Helm(executable=str(helm_executable()), chart=chart, kubeconfig=world.cluster.kubeconfig)
    namespace = f"helm-{uuid.uuid4().hex[:8]}"
    with new_client_from_config(str(world.cluster.kubeconfig)) as api:
        core = CoreV1Api(api)
        core.create_namespace({"metadata": {"name": namespace}})
        yield Stage(block=block, namespace=namespace, api=core)
        core.delete_namespace(namespace)


def test_a_killed_upgrade_to_the_wanted_candidate_is_finished(stage: Stage) -> None:
    stage.install("old")
    killed = stage.kill_in_the_middle("new")
    assert killed.status == "pending-upgrade"
    with pytest.raises(HelmStuck):
        require_idle(killed, datetime.now(UTC), 0.0)

    repair = repair_release(stage.block, stage.name, stage.namespace, "new")

    now = stage.now()
    assert repair is not None
    assert now is not None
    assert (repair.kind, now.status, now.fingerprint, stage.carries()) == ("finish", "deployed", "new", "new")
    assert stage.install("newer").fingerprint == "newer"


def test_a_killed_upgrade_to_anything_else_is_taken_back(stage: Stage) -> None:
    stage.install("old")
    stage.kill_in_the_middle("new")

    repair = repair_release(stage.block, stage.name, stage.namespace, "other")

    now = stage.now()
    assert repair is not None
    assert now is not None
    assert (repair.kind, now.status, now.fingerprint, stage.carries()) == ("return", "deployed", "old", "old")
    assert repair_release(stage.block, stage.name, stage.namespace, "other") is None


def test_a_killed_installation_is_finished_or_removed(stage: Stage) -> None:
    assert stage.kill_in_the_middle("first").status == "pending-install"
    with pytest.raises(HelmRejected):
        stage.client.rollback(stage.name, stage.namespace, 7)

    assert repair_release(stage.block, stage.name, stage.namespace, "other") is not None
    assert (stage.now(), stage.carries()) == (None, None)

    stage.kill_in_the_middle("second")
    assert repair_release(stage.block, stage.name, stage.namespace, "second") is not None
    now = stage.now()
    assert now is not None
    assert (now.status, stage.carries()) == ("deployed", "second")


def test_what_was_removed_with_its_history_can_be_put_back(stage: Stage) -> None:
    stage.install("old")
    stage.install("new")
    stage.client.uninstall(stage.name, stage.namespace, keep_history=True)
    assert stage.carries() is None

    assert stage.client.rollback(stage.name, stage.namespace, 1).fingerprint == "old"
    assert stage.carries() == "old"
    assert [each.revision for each in stage.client.revisions(stage.name, stage.namespace)] == [3, 2, 1]


def test_fields_of_the_chart_are_taken_back_and_no_others(stage: Stage) -> None:
    stage.install("old")
    edited = {"data": {"carries": "by hand", "note": "mine"}}
    stage.api.patch_namespaced_config_map(stage.name, stage.namespace, edited, field_manager="somebody")

    with pytest.raises(HelmConflict) as refused:
        stage.install("new")
    assert refused.value.facts == {"owners": ["somebody"], "fields": [".data.carries"]}
    assert stage.carries() == "by hand"

    stage.install("new", force_conflicts=True)
    assert stage.api.read_namespaced_config_map(stage.name, stage.namespace).data == {"carries": "new", "note": "mine"}


def test_all_releases_of_a_namespace_are_listed_also_more_than_helm_lists_by_default(stage: Stage) -> None:
    stage.install("old")
    (secret,) = stage.api.list_namespaced_secret(stage.namespace, label_selector="owner=helm").items
    for number in range(257):
        name = f"{stage.name}-{number}"
        record = read_record(secret.data["release"]) | {"name": name}
        metadata = {"name": f"sh.helm.release.v1.{name}.v1", "labels": {**secret.metadata.labels, "name": name}}
        body = {"metadata": metadata, "type": secret.type, "data": {"release": write_record(record)}}
        stage.api.create_namespaced_secret(stage.namespace, body)

    listed = stage.client.releases(stage.namespace)

    assert len(listed) == 258
    assert set(listed.values()) == {"deployed"}


def test_a_connection_that_ends_without_an_answer_is_tried_again(tmp_path: Path) -> None:
    # what Helm 4 printed when the API server went away while it wrote its own record
    said = 'Error: UPGRADE FAILED: update: failed to update: Put "https://10.0.0.1/api/v1/namespaces/llm/secrets/tiny.v6": EOF'
    helm = tmp_path / "helm"
    helm.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    helm.chmod(0o755)

    with pytest.raises(HelmUnreachable, match="EOF"):
        Helm(executable=str(helm), chart=tmp_path).client().upgrade("tiny", "llm", {})
