"""The chart on a cluster: what it offers beside a plain Deployment works together with the pipeline, Helm and the API server."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import AppsV1Api, AutoscalingV2Api, CoreV1Api
from kubernetes.config import new_client_from_config

from flows.naming import release_name
from sandbox.helm import helm_executable
from sandbox.world import World
from tests.flows.conftest import Site
from tests.support.environments import COMPILED
from tests.support.waiting import HANGS_SECONDS

CHARTS = Path(__file__).parents[1] / "charts" / "released"


def helm(world: World, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [helm_executable(), *arguments, "--kubeconfig", world.cluster.kubeconfig]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANGS_SECONDS)


def test_an_autoscaled_release_keeps_its_pods_and_its_compiled_code_and_answers_helm_test(site: Site) -> None:
    # given an environment whose number of pods an autoscaler owns, and nodes with a folder for compiled code
    disk = next(iter(site.world.cluster.nodes)).disk / f"{COMPILED}/development-{site.name}".lstrip("/")
    disk.mkdir(parents=True)
    scaling = {"kind": "hpa", "minReplicas": 1, "maxReplicas": 3}
    site.edit(
        "environments/development.yaml", values={"replicas": None, "autoscaling": scaling, "compileCache": {"claim": "slipway-compiled"}}
    )
    model = f"models/{site.model}.yaml"
    engine = {"max_model_len": 256, "quantization": "fp8_per_tensor", "speculative": {"method": "ngram", "tokens": 3}}
    site.edit(model, engine=engine, checks="smoke")

    assert site.release().is_completed()

    # then it has an autoscaler, and compiled code has a folder that only this candidate's engine sees
    name, namespace = release_name(site.model, "development"), f"development-{site.name}"
    (pod,) = site.pods()
    (kept,) = disk.glob("development/*/*")
    assert kept.name == pod.labels["slipway.dev/candidate"]
    with new_client_from_config(str(site.world.cluster.kubeconfig)) as api:
        scaler = AutoscalingV2Api(api).read_namespaced_horizontal_pod_autoscaler(name, namespace)
        assert scaler.spec.scale_target_ref.name == name
        # when it asks for another pod, as an autoscaler does
        AppsV1Api(api).patch_namespaced_deployment_scale(name, namespace, {"spec": {"replicas": 2}})
        site.publish(seed=2)
        ended = site.release()

        # then a release of another revision leaves two pods, of which each serves it
        assert ended.is_completed(), ended.message
        assert len(site.pods()) == 2
        assert all(found.ready for found in site.pods())
        assert len({found.labels["slipway.dev/candidate"] for found in site.pods()} - {kept.name}) == 1
        args = CoreV1Api(api).read_namespaced_pod(site.pods()[0].name, namespace).spec.containers[0].args
    assert args[args.index("--quantization") + 1] == "fp8_per_tensor"
    assert '"num_speculative_tokens":3' in args[args.index("--speculative-config") + 1]

    # and helm's own test gets a completion, or says why not
    tested = helm(site.world, "test", name, "--namespace", namespace, "--logs")
    assert tested.returncode == 0, tested.stderr
    assert f"{site.model} answered 8 token(s)" in tested.stdout
    with new_client_from_config(str(site.world.cluster.kubeconfig)) as api:
        core = CoreV1Api(api)
        for found in site.pods():
            core.patch_namespaced_pod(found.name, namespace, {"metadata": {"labels": {"app.kubernetes.io/instance": "gone"}}})
    tested = helm(site.world, "test", name, "--namespace", namespace)
    assert tested.returncode != 0


@pytest.mark.parametrize("package", sorted(CHARTS.glob("*.tgz")), ids=lambda path: path.stem)
def test_a_release_of_an_earlier_chart_is_upgraded_and_hands_its_number_of_pods_over(world: World, package: Path) -> None:
    namespace, chart = f"upgrade-{uuid.uuid4().hex[:8]}", CHARTS.parents[2] / "charts" / "vllm-deployment"
    name, scenarios = "tiny-llama-development", chart / "ci"

    def deploy(verb: str, what: Path, values: Path, *more: str) -> Any:
        done = helm(world, verb, "tiny-llama", what, "--namespace", namespace, "--values", values, *more)
        assert done.returncode == 0, done.stderr
        return apps.read_namespaced_deployment(name, namespace)

    with new_client_from_config(str(world.cluster.kubeconfig)) as api:
        apps = AppsV1Api(api)
        try:
            # given a release of the earlier version
            deploy("install", package, package.with_suffix(".yaml"), "--set=replicas=2", "--create-namespace")

            # when it is upgraded, then Kubernetes accepts everything
            upgraded = deploy("upgrade", chart, scenarios / "minimal.yaml", "--set=replicas=2")
            assert upgraded.metadata.labels["helm.sh/chart"] != package.stem

            # and when somebody else holds the number of pods as well, then an autoscaler finds it as it was
            held = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": 2}}
            apps.patch_namespaced_deployment(
                name, namespace, held, field_manager="autoscaler", _content_type="application/apply-patch+yaml"
            )
            assert deploy("upgrade", chart, scenarios / "hpa.yaml").spec.replicas == 2
        finally:
            CoreV1Api(api).delete_namespace(namespace)
