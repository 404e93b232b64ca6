"""`charts/environment`: what it renders, what it refuses, and that it grants what the pipeline's own manifests need."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils
from packaging.version import Version

from flows.naming import STORE_CLAIM, WEIGHTS_CLAIM
from flows.weights.prefetch import prefetch_job
from flows.weights.scrub import scrub_job
from tests.support.examples import candidate, environment

FOLDER = Path(__file__).parents[2] / "charts" / "environment"
NAMESPACE = "llm-development"
SCENARIOS = ("default", "full")
MINORS = sorted(set(utils.all_versions()), key=Version)[-3:]


@pytest.fixture(scope="module", autouse=True)
def schemas_read_once() -> Iterator[None]:
    """Keeps the library from parsing all of Kubernetes' definitions anew for each document, which took most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("minor", MINORS)
def test_each_document_is_valid_in_the_newest_minors(environment_chart: Any, scenario: str, minor: str) -> None:
    documents = environment_chart.render(scenario)
    assert {"Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "Role", "ClusterRole", "ServiceAccount"} <= {
        document["kind"] for document in documents
    }
    for document in documents:
        assert kubernetes_validate.validate(document, minor, strict=True)


def test_the_validation_would_catch_a_misspelt_field(environment_chart: Any) -> None:
    document = copy.deepcopy(environment_chart.named("PersistentVolume", f"{NAMESPACE}-weights"))
    document["spec"]["mountOption"] = ["ro"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, MINORS[-1], strict=True)


def test_helm_lint_has_nothing_to_say(environment_chart: Any) -> None:
    done = environment_chart.run("lint", "--strict", FOLDER, "--namespace", "slipway")
    assert done.returncode == 0, done.stdout


def test_one_install_needs_no_value_and_everything_lies_where_it_should(environment_chart: Any) -> None:
    for document in environment_chart.render():
        metadata = document["metadata"]
        where = "slipway-development" if document["kind"] == "ServiceAccount" else NAMESPACE
        if document["kind"] not in ("Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding"):
            assert metadata["namespace"] == where, metadata
        assert metadata["labels"]["slipway.dev/environment"] == "development"
        # what is in no namespace is told apart by the environment's own, which is unique in a cluster
        if document["kind"] in ("PersistentVolume", "ClusterRole", "ClusterRoleBinding"):
            assert NAMESPACE in metadata["name"]


def test_the_namespace_is_labelled_and_restricted(environment_chart: Any) -> None:
    labels = environment_chart.named("Namespace", NAMESPACE)["metadata"]["labels"]

    assert labels["environment"] == "development"
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}


def test_what_running_models_stand_on_outlives_the_release_and_rights_do_not(environment_chart: Any) -> None:
    kept = {
        document["kind"]
        for document in environment_chart.render()
        if document["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    gone = {document["kind"] for document in environment_chart.render()} - kept

    assert kept == {"Namespace", "PersistentVolume", "PersistentVolumeClaim", "NetworkPolicy"}
    assert {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount"} <= gone


@pytest.mark.parametrize(("claim", "mode"), [(WEIGHTS_CLAIM, "ReadOnlyMany"), (STORE_CLAIM, "ReadWriteMany")])
@pytest.mark.parametrize(
    ("scenario", "namespace", "path", "label"),
    [
        ("default", NAMESPACE, "/var/lib/slipway", ("node-type", "gpu")),
        ("full", "models", "/mnt/nvme0/slipway", ("accelerator", "a100")),
    ],
)
def test_weights_come_by_claims_that_only_their_own_volumes_satisfy(
    environment_chart: Any, claim: str, mode: str, scenario: str, namespace: str, path: str, label: tuple[str, str]
) -> None:
    wanted = environment_chart.named("PersistentVolumeClaim", claim, scenario)["spec"]
    volume = environment_chart.named("PersistentVolume", wanted["volumeName"], scenario)["spec"]

    assert volume["claimRef"] == {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim}
    assert wanted["accessModes"] == volume["accessModes"] == [mode]
    assert (wanted["storageClassName"], volume["storageClassName"]) == ("", "")
    assert wanted["resources"]["requests"] == volume["capacity"]
    assert volume["local"] == {"path": path}
    (term,) = volume["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term == {"matchExpressions": [{"key": label[0], "operator": "In", "values": [label[1]]}]}
    # who mounts what engines read cannot write to it, whatever its pod says
    assert ("ro" in volume.get("mountOptions", ())) is (claim == WEIGHTS_CLAIM)


def test_compiled_code_has_a_place_of_its_own_where_one_is_given(environment_chart: Any) -> None:
    assert "slipway-compiled" not in [document["metadata"]["name"] for document in environment_chart.render()]
    claim = environment_chart.named("PersistentVolumeClaim", "slipway-compiled", "full")
    volume = environment_chart.named("PersistentVolume", claim["spec"]["volumeName"], "full")["spec"]

    assert volume["local"]["path"] == "/mnt/nvme0/compiled/development"
    assert volume["claimRef"]["name"] == "slipway-compiled"
    assert claim["spec"]["accessModes"] == volume["accessModes"] == ["ReadWriteMany"]


def test_a_quota_counts_gpus_and_no_service_opens_another_way_in(environment_chart: Any) -> None:
    hard = environment_chart.named("ResourceQuota", "environment", "full")["spec"]["hard"]

    assert hard["requests.nvidia.com/gpu"] == "16"
    assert (hard["services.loadbalancers"], hard["services.nodeports"]) == ("0", "0")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_the_quota_limits_every_container_says_or_is_given(environment_chart: Any, scenario: str) -> None:
    hard = environment_chart.named("ResourceQuota", "environment", scenario)["spec"]["hard"]
    (limits,) = environment_chart.named("LimitRange", "environment", scenario)["spec"]["limits"]
    given = {f"requests.{name}" for name in limits["defaultRequest"]}

    assert {name for name in hard if name in ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory")} <= given
    # a limit of CPU would slow down the prefetch, which states none
    assert "cpu" not in limits["default"]


class TestRights:
    def test_the_deployer_may_write_every_kind_that_the_models_chart_renders(self, environment_chart: Any, chart: Any) -> None:
        rules = environment_chart.named("Role", "deployer")["rules"]
        scenarios = sorted(path.stem for path in (chart.folder / "ci").glob("*.yaml"))
        documents = [document for scenario in scenarios for document in chart.render("production", scenario)]
        # the pod of `helm test` is made by whoever runs that
        kinds = {(document["apiVersion"], document["kind"]) for document in documents if document["kind"] != "Pod"}
        assert len(kinds) >= 5

        for version, kind in kinds:
            group, resource = version.rpartition("/")[0], _plural(kind)
            for verb in ("get", "create", "patch", "delete"):
                assert granted(rules, verb, group, resource), f"{verb} {resource}.{group}"

    def test_it_may_not_change_what_confines_it(self, environment_chart: Any) -> None:
        documents = environment_chart.render("full")
        role = environment_chart.named("Role", "deployer", "full")["rules"]
        beyond = [rule for document in documents if document["kind"] == "ClusterRole" for rule in document["rules"]]

        confining = ["Namespace", "ResourceQuota", "LimitRange", "Role", "RoleBinding", "PersistentVolume", "PersistentVolumeClaim"]
        for kind in confining:
            (version,) = {document["apiVersion"] for document in documents if document["kind"] == kind}
            for verb in ("create", "update", "patch", "delete", "deletecollection"):
                assert not granted([*role, *beyond], verb, version.rpartition("/")[0], _plural(kind)), f"{verb} {kind}"
        # of what is in no namespace it lists nodes and pods, and sees of its own namespace whether it is being deleted
        assert {(verb, resource) for rule in beyond for verb in rule["verbs"] for resource in rule["resources"]} == {
            ("list", "nodes"),
            ("list", "pods"),
            ("get", "namespaces"),
        }
        assert [rule["resourceNames"] for rule in beyond if "namespaces" in rule["resources"]] == [["models"]]
        assert not any("*" in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]] for rule in [*role, *beyond])

    def test_the_viewer_reads_and_sees_no_secret(self, environment_chart: Any) -> None:
        rules = environment_chart.named("Role", "viewer")["rules"]

        assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}
        assert not granted(rules, "get", "", "secrets")
        assert granted(rules, "get", "", "pods/log")

    def test_a_way_through_the_api_server_is_granted_only_where_it_is_asked_for(self, environment_chart: Any) -> None:
        assert not granted(environment_chart.named("Role", "deployer")["rules"], "get", "", "services/proxy")
        assert granted(environment_chart.named("Role", "deployer", "full")["rules"], "create", "", "services/proxy")

    def test_the_bindings_name_the_service_account_and_whoever_was_given(self, environment_chart: Any) -> None:
        account = {"kind": "ServiceAccount", "name": "development-deployer", "namespace": "slipway-development"}
        platform = {"kind": "Group", "name": "platform", "apiGroup": "rbac.authorization.k8s.io"}

        assert environment_chart.named("RoleBinding", "deployer")["subjects"] == [account]
        assert environment_chart.named("RoleBinding", "deployer", "full")["subjects"] == [account, platform]
        assert environment_chart.named("ClusterRoleBinding", "slipway-planner-models", "full")["subjects"] == [account, platform]
        # a binding to nobody would be a loose end
        assert not [d for d in environment_chart.render() if (d["kind"], d["metadata"]["name"]) == ("RoleBinding", "viewer")]
        assert [subject["name"] for subject in environment_chart.named("RoleBinding", "viewer", "full")["subjects"]] == [
            "developers",
            "ada@example.com",
            "dashboard",
        ]


def granted(rules: list[dict[str, Any]], verb: str, group: str, resource: str) -> bool:
    return any(verb in rule["verbs"] and group in rule["apiGroups"] and resource in rule["resources"] for rule in rules)


def _plural(kind: str) -> str:
    name = kind.lower()
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}es" if name.endswith("ss") else f"{name}s"


def test_the_jobs_mount_the_claims_that_the_chart_makes(environment_chart: Any) -> None:
    claims = {document["metadata"]["name"] for document in environment_chart.render() if document["kind"] == "PersistentVolumeClaim"}
    for job in (prefetch_job(candidate(), environment(), "gpu-1", "run", "https://hub.example"), scrub_job(environment(), "gpu-1", "run")):
        mounted = [
            volume["persistentVolumeClaim"] for volume in job["spec"]["template"]["spec"]["volumes"] if "persistentVolumeClaim" in volume
        ]
        assert [claim["claimName"] for claim in mounted] == [STORE_CLAIM]
    assert claims == {STORE_CLAIM, WEIGHTS_CLAIM}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"quotas": {}}, "additional properties 'quotas'"),
    "quota without GPUs": ({"quota.gpus": None}, "'/quota'"),
    "GPUs as text": ({"quota.gpus": "4"}, "'/quota/gpus'"),
    "fewer GPUs than none": ({"quota.gpus": -1}, "'/quota/gpus'"),
    "relative store": ({"store.path": "slipway"}, "'/store/path'"),
    "store that climbs": ({"store.path": "/var/../etc"}, "'/store/path'"),
    "cache in the store": ({"compileCache.path": "/var/lib/slipway/compiled"}, "neither may lie in the other"),
    "store in the cache": ({"compileCache.path": "/var/lib"}, "neither may lie in the other"),
    "upper-case namespace": ({"namespace": "LLM"}, "'/namespace'"),
    "empty peer": (
        {"networkPolicy.routers": [{"namespaceLabels": {}, "podLabels": {"a": "b"}}]},
        "'/networkPolicy/routers/0/namespaceLabels'",
    ),
    "nobody to route": ({"networkPolicy.routers": []}, "'/networkPolicy/routers'"),
    "control plane anywhere": ({"networkPolicy.controlPlane": ["0.0.0.0/0"]}, "'/networkPolicy/controlPlane/0'"),
    "hub by name": ({"networkPolicy.hub.ranges": [{"cidr": "huggingface.co"}]}, "'/networkPolicy/hub/ranges/0/cidr'"),
    "subject without kind": ({"viewer.subjects": [{"name": "ada"}]}, "'/viewer/subjects/0'"),
    "service account without namespace": ({"viewer.subjects": [{"kind": "ServiceAccount", "name": "a"}]}, "'/viewer/subjects/0'"),
    "CPU limit for all": ({"containerDefaults.limits.cpu": 1}, "additional properties 'cpu'"),
    "secret": ({"hubToken": "hf_example"}, "additional properties 'hubToken'"),
    "proxy without control plane": ({"deployer.serviceProxy": True}, "networkPolicy.controlPlane is empty: list the API servers'"),
    "the release's own namespace": ({"namespace": "slipway-development"}, "install it from another one (--namespace slipway-development"),
    "the cluster's namespace": ({"namespace": "kube-system"}, "which belongs to the cluster"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_values_that_cannot_be_meant_are_refused_by_name(environment_chart: Any, what: str) -> None:
    changes, says = REFUSED[what]

    assert says in environment_chart.refusal(changes)


def test_a_name_that_is_no_environments_is_refused(environment_chart: Any) -> None:
    done = environment_chart.run("template", "pre-production", FOLDER, "--namespace", "slipway")

    assert done.returncode != 0
    assert "The release's name pre-production is the environment's" in done.stderr


def test_every_value_is_explained() -> None:
    page = (FOLDER / "README.md").read_text()
    schema = json.loads((FOLDER / "values.schema.json").read_text())
    defaults = yaml.safe_load((FOLDER / "values.yaml").read_text())

    def leaves(properties: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for name, node in properties.items():
            if "properties" in node:
                yield from leaves(node["properties"], f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    for name in leaves(schema["properties"]):
        assert f"`{name}`" in page, name
    assert schema["properties"].keys() == defaults.keys()
