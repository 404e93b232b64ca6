"""What cannot work is refused before anything is touched, with the numbers; the plan flow shows all of it and touches nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import BatchV1Api, CoreV1Api
from kubernetes.config import new_client_from_config
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateName
from prefect.client.schemas.objects import FlowRun

from flows.naming import STORE_CLAIM, release_name
from flows.plan import plan
from flows.runtime import client
from flows.spec import Candidate
from flows.spec.load import ROOT
from tests.flows.conftest import Site
from tests.support.waiting import HANGS_SECONDS


def engine(site: Site, **changes: Any) -> None:
    """Change engine settings of the site's model."""
    path = f"models/{site.model}.yaml"
    settings = yaml.safe_load((site.deployments / path).read_text())["engine"]
    site.edit(path, engine={**settings, **changes})


def touched(site: Site) -> list[str]:
    """What releases put into the site's namespaces: Jobs with their ConfigMaps, and what Helm makes with its Secrets."""
    with new_client_from_config(str(site.world.cluster.kubeconfig)) as api:
        core, batch = CoreV1Api(api), BatchV1Api(api)
        return [
            found.metadata.name
            for namespace in site.namespaces
            for listed in (core.list_namespaced_config_map, core.list_namespaced_secret, batch.list_namespaced_job)
            for found in listed(namespace).items
            if found.metadata.name != "kube-root-ca.crt"
        ]


def limit_gpus(site: Site, environment: str, count: int) -> None:
    """Give the environment's namespace a quota of GPUs."""
    namespace = f"{environment}-{site.name}"
    with new_client_from_config(str(site.world.cluster.kubeconfig)) as api:
        core = CoreV1Api(api)
        quota = {"metadata": {"name": "gpus"}, "spec": {"hard": {"requests.nvidia.com/gpu": str(count)}}}
        core.create_namespaced_resource_quota(namespace, quota)


def unclaim_store(site: Site, environment: str) -> None:
    """Take away what the environment's chart made for the Jobs on the nodes."""
    with new_client_from_config(str(site.world.cluster.kubeconfig)) as api:
        CoreV1Api(api).delete_namespaced_persistent_volume_claim(STORE_CLAIM, f"{environment}-{site.name}")


def started_run(site: Site) -> FlowRun:
    """The run that a command started for the site's model."""
    deadline = time.monotonic() + HANGS_SECONDS
    wanted = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Scheduled"])))
    while time.monotonic() < deadline:
        for run in site.client.read_flow_runs(flow_run_filter=wanted):
            if run.parameters.get("model") == site.model:
                return run
        time.sleep(0.1)
    pytest.fail("the command started no run")


def test_a_plan_shows_the_numbers_and_touches_nothing(refusing_site: Site) -> None:
    run = refusing_site.start(plan, model=refusing_site.model)

    ended = refusing_site.leg(plan, run)

    assert ended.is_completed(), ended.message
    key = release_name(refusing_site.model, "plan")
    page = client.artifact(run.id, key)
    assert "| parameters | 797,832 in F32 |" in page
    assert "| licence | apache-2.0 |" in page
    assert "| KV cache | 0.4 MiB for a request of 256 tokens, 1,536 bytes for each token more |" in page
    for environment in ("development", "staging", "production"):
        assert f"| {environment} | can be released | 2.0 GiB of 71.7 GiB | 2,048 | " in page
    sum_of_memory = "1.5 MiB of weights, 0.4 MiB of KV cache for 1 request(s) of 256 tokens and 2.0 GiB of reserve make 2.0 GiB"
    assert page.count(sum_of_memory) == 3
    assert "Only after a person approves it." in page
    # and scripts read the same numbers
    (model,) = client.artifact(run.id, f"{key}-model")
    assert (model["parameters"], model["dtype"], model["weights_bytes"]) == (797_832, "F32", 4 * 797_832)
    rows = {row["environment"]: row for row in client.artifact(run.id, f"{key}-environments")}
    assert list(rows) == ["development", "staging", "production"]
    assert rows["production"]["strategy"] == "surge"
    # 16 blocks of 16 tokens and the null block, of 48 numbers for keys and for values in two layers of two heads, in 4 bytes
    assert rows["production"]["kv_bytes"] == (256 + 16) * 48 * 2 * 2 * 4 * 2
    assert rows["production"]["largest_context"] == 2048
    assert all(row["ok"] and row["refusals"] == "" for row in rows.values())
    # and neither the cluster nor the registry knows of it, nor were weights fetched
    assert touched(refusing_site) == []
    assert refusing_site.statuses() == {}


def test_a_plan_shows_everything_that_speaks_against_a_release(refusing_site: Site) -> None:
    # given a model that wants more than one thing that it must not
    refusing_site.publish(pickle_beside=True, auto_map=True, licence="cc-by-nc-4.0")
    engine(refusing_site, max_model_len=4096)
    refusing_site.edit("environments/production.yaml", values={"replicas": 1000})

    # when it is planned
    run = refusing_site.start(plan, model=refusing_site.model)
    ended = refusing_site.leg(plan, run)

    # then the run fails with the first reason and the number of the others
    assert ended.name == "Failed"
    assert ended.message is not None
    assert "holds pickled or otherwise unsafe weights (pytorch_model.bin)" in ended.message
    assert f"(7 more refusal(s): slipway plan {refusing_site.model} shows them.)" in ended.message
    # and the page has them all
    page = client.artifact(run.id, release_name(refusing_site.model, "plan"))
    assert "asks for code of its own to be run (config.json (auto_map), modeling_remembering.py)" in page
    assert page.count("has the licence cc-by-nc-4.0, which is not among the licences of deployments/environments/") == 2
    assert page.count("is 4,096, but the model was made for 2,048 tokens at the most") == 3
    assert page.count("There are not enough free GPUs: 1000 new pod(s)") == 1
    assert touched(refusing_site) == []


def test_the_command_prints_what_scripts_read_and_ends_with_1_when_refused(site: Site, prefect_api: str, tmp_path: Path) -> None:
    # given the Prefect deployment of the project, and an environment that takes other licences only
    plan.to_deployment("plan").apply()  # type: ignore[union-attr]
    site.edit("environments/staging.yaml", licences=["mit"])

    # when the command starts a run, and this process is the worker
    command = [
        sys.executable,
        "-m",
        "flows.cli.app",
        "plan",
        site.model,
        "--environment",
        "development",
        "--environment",
        "staging",
        "--json",
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": prefect_api}
    started = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    site.leg(plan, started_run(site))
    output, errors = started.communicate(timeout=HANGS_SECONDS)

    # then it prints one JSON document, says the reason, and fails
    assert started.returncode == 1
    printed = json.loads(output)
    assert (printed["state"], printed["model"]["licence"], printed["model"]["refusals"]) == ("Failed", "apache-2.0", [])
    assert {row["environment"]: len(row["refusals"]) for row in printed["environments"]} == {"development": 0, "staging": 1}
    assert f"Failed: staging: {site.model} has the licence apache-2.0" in errors


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda site: (engine(site, gpu_memory_utilization=0.05), site.edit(f"models/{site.model}.yaml", concurrency=10_000)),
            "1.5 MiB of weights, 3.7 GiB of KV cache for 10,000 request(s) of 256 tokens and 2.0 GiB of reserve make 5.7 GiB, but vLLM may "
            "take 4.0 GiB of 79.6 GiB (gpu_memory_utilization 0.05); the largest max_model_len that fits is 128",
        ),
        (
            lambda site: site.publish(auto_map=True),
            "asks for code of its own to be run (config.json (auto_map), modeling_remembering.py): read that code",
        ),
        (
            lambda site: site.edit("environments/development.yaml", licences=["mit"]),
            "development: {model} has the licence apache-2.0, which is not among the licences of deployments/environments/development.yaml",
        ),
        (
            lambda site: site.edit("environments/development.yaml", values={"replicas": 1000}),
            "development: There are not enough free GPUs: 1000 new pod(s) of {model} need 1 each",
        ),
    ],
    ids=["memory", "code", "licence", "gpus"],
)
def test_a_release_that_cannot_work_is_refused_before_anything_is_touched(refusing_site: Site, change: Any, says: str) -> None:
    change(refusing_site)

    ended = refusing_site.release()

    assert ended.name == "Failed"
    assert ended.message is not None
    assert says.format(model=refusing_site.model) in ended.message
    assert "\n" not in ended.message
    assert refusing_site.statuses() == {}
    assert refusing_site.pods() == ()
    assert touched(refusing_site) == []


def test_an_environment_that_lacks_something_is_refused_before_anything_is_touched(site: Site) -> None:
    site.edit("environments/staging.yaml", after=None)
    unclaim_store(site, "development")
    limit_gpus(site, "staging", 0)

    for environment, says in (
        ("development", "has no volume for slipway-store: install the environment with helm install development"),
        ("staging", "staging: The namespace's ResourceQuota gpus has too few GPUs: 1 new pod(s)"),
    ):
        ended = site.release(environment)
        assert ended.name == "Failed"
        assert says in str(ended.message)
        assert "\n" not in str(ended.message)
        assert site.pods(environment) == ()
    assert site.statuses() == {}
    assert touched(site) == []


def test_code_of_the_repository_runs_where_its_model_is_allowed_to(site: Site) -> None:
    site.publish(auto_map=True)
    site.edit(f"models/{site.model}.yaml", allow_remote_code=True)

    assert site.release().is_completed()

    # the engine was told, the node got the code with the weights, and the registry knows all of it
    with new_client_from_config(str(site.world.cluster.kubeconfig)) as api:
        (pod,) = (
            CoreV1Api(api).list_namespaced_pod(f"development-{site.name}", label_selector="app.kubernetes.io/name=vllm-deployment").items
        )
    assert "--trust-remote-code" in pod.spec.containers[0].args
    with site.registry() as registry:
        (entry,) = registry.entries(model=site.model)
        document = registry.candidates.get(entry.fingerprint or "")
    assert document is not None
    candidate = Candidate.from_document(document)
    assert candidate.remote_code
    assert "modeling_remembering.py" in {file.path for file in candidate.files}
    assert candidate.about is not None
    assert (candidate.about.parameters, candidate.about.dtype, candidate.about.licences) == (797_832, "F32", ("apache-2.0",))
