"""`charts/environment`, installed by the real helm: what it declares is enforced, with the tokens of its own service accounts."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient, AppsV1Api, BatchV1Api, CoreV1Api, NetworkingV1Api, RbacAuthorizationV1Api
from kubernetes.client.exceptions import ApiException
from kubernetes.config import new_client_from_config

from flows.naming import STORE_CLAIM, WEIGHTS_CLAIM
from flows.spec.load import ROOT, Deployments
from sandbox.helm import helm_executable, kubectl_executable
from sandbox.world import World
from tests.support.environments import CHART, account_kubeconfig, helm, remove_environments
from tests.support.waiting import HANGS_SECONDS

CONFINED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass
class Installed:
    """An environment on the cluster, and its users."""

    kubeconfig: Path
    name: str
    namespace: str
    control: str
    admin: ApiClient
    folder: Path
    open: ExitStack

    def install(self) -> None:
        viewer = {"kind": "ServiceAccount", "name": "viewer", "namespace": self.control}
        values = [f"namespace={self.namespace}", "quota.gpus=1", f"viewer.subjects={json.dumps([viewer])}"]
        settings = ["--set", values[0], "--set", values[1], "--set-json", values[2]]
        helm(self.kubeconfig, "install", self.name, str(CHART), "--namespace", self.control, "--create-namespace", *settings)

    def account(self, name: str) -> ApiClient:
        """A client with a fresh token of a service account: an install after an uninstall makes a new one of that name."""
        return self.open.enter_context(new_client_from_config(str(account_kubeconfig(self.kubeconfig, self.control, name, self.folder))))

    def pod(self, name: str, resources: dict[str, Any] | None = None, security: dict[str, Any] | None = None, **spec: Any) -> Any:
        """Have a pod made, and none of its containers run."""
        container = {"name": "c", "image": "i:1", "securityContext": security or CONFINED, "resources": resources or {}}
        body = {"metadata": {"name": name}, "spec": {"containers": [container], "nodeSelector": {"no": "node"}, **spec}}
        return CoreV1Api(self.admin).create_namespaced_pod(self.namespace, body)


@pytest.fixture(scope="module")
def installed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    unique, kubeconfig = uuid.uuid4().hex[:8], world.cluster.kubeconfig
    control = f"slipway-{unique}"
    with ExitStack() as stack:
        admin = stack.enter_context(new_client_from_config(str(kubeconfig)))
        made = Installed(kubeconfig, "development", f"llm-{unique}", control, admin, tmp_path_factory.mktemp("tokens"), stack)
        made.install()
        stack.callback(remove_environments, kubeconfig, [made.namespace, control])
        CoreV1Api(admin).create_namespaced_service_account(control, {"metadata": {"name": "viewer"}})
        yield made


def refused(call: Any, *arguments: Any, **options: Any) -> str:
    """What the API server says to what it forbids."""
    with pytest.raises(ApiException) as caught:
        call(*arguments, **options)
    assert caught.value.status == 403, caught.value
    return str(json.loads(caught.value.body)["message"])


def test_one_install_makes_a_namespace_in_which_weights_can_be_mounted(installed: Installed) -> None:
    core = CoreV1Api(installed.admin)

    namespace = core.read_namespace(installed.namespace)
    claims = {claim.metadata.name: claim.status.phase for claim in core.list_namespaced_persistent_volume_claim(installed.namespace).items}

    assert namespace.metadata.labels["environment"] == "development"
    assert claims == {STORE_CLAIM: "Bound", WEIGHTS_CLAIM: "Bound"}


def test_only_confined_pods_are_let_in_and_none_that_mounts_the_node(installed: Installed) -> None:
    root = refused(installed.pod, "root", security={**CONFINED, "runAsUser": 0})
    node = refused(installed.pod, "node", volumes=[{"name": "weights", "hostPath": {"path": "/var/lib/slipway"}}])

    assert 'violates PodSecurity "restricted:latest": runAsUser=0' in root
    assert 'restricted volume types (volume "weights" uses restricted volume type "hostPath")' in node
    claimed = [{"name": "weights", "persistentVolumeClaim": {"claimName": WEIGHTS_CLAIM, "readOnly": True}}]
    made = installed.pod("claims", volumes=claimed)
    # what it did not say, the environment said for it: the quota counts every pod
    assert made.spec.containers[0].resources.requests == {"cpu": "100m", "memory": "256Mi"}
    assert made.spec.containers[0].resources.limits == {"memory": "1Gi"}


def test_the_quota_refuses_a_second_gpu_and_a_service_that_opens_a_port(installed: Installed) -> None:
    gpu = {"limits": {"nvidia.com/gpu": "1"}}
    installed.pod("first", resources=gpu)

    second = refused(installed.pod, "second", resources=gpu)
    service = {"metadata": {"name": "open"}, "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 8000}]}}
    opened = refused(CoreV1Api(installed.admin).create_namespaced_service, installed.namespace, service)

    assert "exceeded quota: environment, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=1" in second
    assert "services.nodeports=1" in opened


def test_the_deployer_does_its_work_here_and_nothing_elsewhere(installed: Installed) -> None:
    deployer, here = installed.account("development-deployer"), installed.namespace
    core = CoreV1Api(deployer)

    # here, and what is counted over the whole cluster
    assert core.list_namespaced_pod(here).items is not None
    assert core.list_node().items
    core.list_pod_for_all_namespaces(field_selector="spec.nodeName=gpu-1")
    core.create_namespaced_config_map(here, {"metadata": {"name": "request"}})
    core.delete_namespaced_config_map("request", here)
    # not in another namespace, not even in the one that it comes from
    for elsewhere in ("default", installed.control):
        assert "cannot list" in refused(core.list_namespaced_secret, elsewhere)
        assert "cannot create" in refused(BatchV1Api(deployer).create_namespaced_job, elsewhere, {"metadata": {"name": "j"}})
    # nor what confines it
    assert "cannot create" in refused(core.create_namespace, {"metadata": {"name": "mine"}})
    assert "cannot delete" in refused(core.delete_namespace, here)
    assert "cannot delete" in refused(core.delete_namespaced_resource_quota, "environment", here)
    assert "cannot delete" in refused(core.delete_namespaced_persistent_volume_claim, STORE_CLAIM, here)
    mine = {
        "metadata": {"name": "mine"},
        "spec": {"accessModes": ["ReadWriteMany"], "capacity": {"storage": "1"}, "hostPath": {"path": "/"}},
    }
    assert "cannot create" in refused(core.create_persistent_volume, mine)
    role = {"metadata": {"name": "mine"}, "rules": []}
    assert "cannot create" in refused(RbacAuthorizationV1Api(deployer).create_namespaced_role, here, role)


def test_the_viewer_reads_and_writes_nothing(installed: Installed) -> None:
    viewer, here = installed.account("viewer"), installed.namespace
    core = CoreV1Api(viewer)

    assert core.list_namespaced_resource_quota(here).items[0].metadata.name == "environment"
    assert AppsV1Api(viewer).list_namespaced_deployment(here).items == []
    assert NetworkingV1Api(viewer).list_namespaced_network_policy(here).items
    assert "cannot list" in refused(core.list_namespaced_secret, here)
    assert "cannot create" in refused(core.create_namespaced_config_map, here, {"metadata": {"name": "mine"}})
    assert "cannot deletecollection" in refused(core.delete_collection_namespaced_pod, here)
    assert "cannot list" in refused(core.list_namespaced_pod, "default")


def test_uninstalling_takes_rights_away_and_leaves_what_models_stand_on(installed: Installed) -> None:
    core, here = CoreV1Api(installed.admin), installed.namespace
    rights, network = RbacAuthorizationV1Api(installed.admin), NetworkingV1Api(installed.admin)
    uid = core.read_namespace(here).metadata.uid

    helm(installed.kubeconfig, "uninstall", installed.name, "--namespace", installed.control)

    assert rights.list_namespaced_role_binding(here).items == []
    assert {policy.metadata.name for policy in network.list_namespaced_network_policy(here).items} >= {"default-deny", "engines"}
    assert core.read_namespace(here).metadata.uid == uid
    # and an install takes all of it over again
    installed.install()
    assert core.read_namespace(here).metadata.uid == uid
    assert {binding.metadata.name for binding in rights.list_namespaced_role_binding(here).items} == {"deployer", "viewer"}
    assert {claim.status.phase for claim in core.list_namespaced_persistent_volume_claim(here).items} == {"Bound"}


def test_the_documented_commands_do_what_the_page_says(world: World, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "environments.md").read_text()
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    assert {line.split()[0] for line in lines} == {"helm", "kubectl"}
    (tmp_path / "hub-token.txt").write_text("hf_example")
    (tmp_path / "engine-key.txt").write_text("example")
    (tmp_path / "charts").symlink_to(ROOT / "charts")
    programs = {"helm": helm_executable(), "kubectl": kubectl_executable()}
    environment = {"HOME": str(tmp_path), "KUBECONFIG": str(world.cluster.kubeconfig)}
    said: dict[str, str] = {}
    try:
        for line in lines:
            program, *arguments = shlex.split(line)
            done = subprocess.run(
                [str(programs[program]), *arguments],
                env=environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                timeout=HANGS_SECONDS,
            )
            assert done.returncode == 0, f"{line}: {done.stderr}"
            said[line] = done.stdout
    finally:
        with contextlib.suppress(ApiException):  # the last line deletes it, if it comes to that
            remove_environments(world.cluster.kubeconfig, ["slipway-development"])

    outputs = {line.split(" --")[0]: output for line, output in said.items()}
    assert "environment=development" in outputs["kubectl get namespace llm-development"]
    assert outputs["kubectl get persistentvolumeclaims"].count("slipway-") == 2
    assert outputs["kubectl create token development-deployer"].count(".") == 2
    with new_client_from_config(str(world.cluster.kubeconfig)) as api:
        assert "llm-development" not in [volume.spec.claim_ref.namespace for volume in CoreV1Api(api).list_persistent_volume().items]


def test_the_examples_of_the_page_are_what_they_should_be(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "environments.md").read_text()

    documents = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    of_chart = yaml.safe_load((CHART / "values.yaml").read_text()).keys()
    secrets = [document for document in documents if "kind" in document]
    values = [document for document in documents if document.keys() <= of_chart]
    files = [document for document in documents if document not in secrets and document not in values]

    assert [secret["kind"] for secret in secrets] == ["SealedSecret", "ExternalSecret"]
    assert {secret["metadata"]["namespace"] for secret in secrets} == {"llm-development"}
    # what is no chart's is the environment's own file's
    assert files
    shutil.copytree(ROOT / "deployments", tmp_path / "deployments")
    file = tmp_path / "deployments" / "environments" / "development.yaml"
    for number, given in enumerate(files):
        name = f"example{number}"
        file.with_stem(name).write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **given, "name": name}))
        assert Deployments(root=tmp_path / "deployments").environment(name)
    # the others are values that the chart takes
    for number, given in enumerate(values):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(given))
        done = subprocess.run(
            [helm_executable(), "template", "development", CHART, "--namespace", "slipway-development", "--values", path],
            env={"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=HANGS_SECONDS,
        )
        assert done.returncode == 0, done.stderr
