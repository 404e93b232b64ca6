"""What the Deployment, its pods and its Service promise, whatever the values."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
import yaml

from tests.charts.conftest import COMBINATIONS, ENVIRONMENTS

SELECTOR = {"app.kubernetes.io/name": "vllm-deployment", "app.kubernetes.io/instance": "tiny-llama"}


def option(args: list[str], name: str) -> str:
    """The value of an argument that stands there once."""
    assert args.count(name) == 1
    return args[args.index(name) + 1]


def test_the_defaults_are_those_of_a_gpu_node(chart: Any) -> None:
    pod = chart.pod("staging")["spec"]
    assert pod["containers"][0]["resources"] == {
        "requests": {"nvidia.com/gpu": 1, "cpu": 8, "memory": "32Gi"},
        "limits": {"nvidia.com/gpu": 1, "cpu": 16, "memory": "48Gi"},
    }
    assert pod["nodeSelector"] == {"node-type": "gpu"}
    assert pod["tolerations"] == [{"key": "gpu-workload", "operator": "Equal", "value": "true", "effect": "NoSchedule"}]


def test_a_node_selector_that_is_given_replaces_the_default(chart: Any) -> None:
    assert chart.pod("staging", "full")["spec"]["nodeSelector"] == {"accelerator": "a100"}


@pytest.mark.parametrize(("environment", "scenario"), COMBINATIONS)
def test_the_engine_is_offline_and_holds_no_token(chart: Any, environment: str, scenario: str) -> None:
    container = chart.container(environment, scenario)
    variables = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    assert variables["HF_HUB_OFFLINE"] == "1"
    assert variables["TRANSFORMERS_OFFLINE"] == "1"
    assert variables["VLLM_NO_USAGE_STATS"] == "1"
    # the one secret that there may be is named, and the cluster's to fill in
    told = [name for name, value in variables.items() if value and any(word in name for word in ("TOKEN", "SECRET", "PASSWORD", "KEY"))]
    assert told == []
    keys = [variable["valueFrom"] for variable in container["env"] if variable["name"] == "VLLM_API_KEY"]
    assert keys == ([{"secretKeyRef": {"name": "engine-key", "key": "api-key"}}] if scenario == "full" else [])


@pytest.mark.parametrize(("environment", "scenario"), COMBINATIONS)
def test_everything_the_engine_writes_to_is_a_volume_of_limited_size(chart: Any, environment: str, scenario: str) -> None:
    pod = chart.pod(environment, scenario)["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    writable = {path for path, mount in mounts.items() if not mount.get("readOnly")}
    kept = {"/var/cache/vllm"} if "compiled" in volumes else set()
    assert writable == {"/dev/shm", "/home/vllm", "/tmp"} | kept
    assert all(volumes[mounts[path]["name"]]["emptyDir"]["sizeLimit"] for path in writable - kept)
    assert volumes[mounts["/dev/shm"]["name"]]["emptyDir"]["medium"] == "Memory"
    variables = {variable["name"]: variable.get("value", "") for variable in pod["containers"][0]["env"]}
    folders = {name: value for name, value in variables.items() if value.startswith("/")}
    assert {"HOME", "VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TMPDIR"} <= folders.keys()
    assert [name for name, value in folders.items() if not any(f"{value}/".startswith(f"{path}/") for path in writable)] == []


@pytest.mark.parametrize(("environment", "scenario"), COMBINATIONS)
def test_the_weights_are_read_only_and_are_what_the_engine_serves(chart: Any, environment: str, scenario: str) -> None:
    pod = chart.pod(environment, scenario)
    (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "weights"]
    container = pod["spec"]["containers"][0]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == volume["name"]]
    commit = pod["metadata"]["annotations"]["slipway.dev/commit"]
    # the volume, too: what is missing in it is then not made
    assert volume["persistentVolumeClaim"]["readOnly"] is True
    assert mount["readOnly"] is True
    assert mount["subPath"].endswith(f"/{commit}")
    assert container["args"][0] == mount["mountPath"]
    assert option(container["args"], "--load-format") == "safetensors"


@pytest.mark.parametrize(("environment", "scenario"), COMBINATIONS)
def test_the_weights_are_checked_before_the_engine_may_read_them(chart: Any, environment: str, scenario: str) -> None:
    pod = chart.pod(environment, scenario)["spec"]
    checker = pod["initContainers"][0]
    assert checker["name"] == "check-weights"
    engine = pod["containers"][0]
    values = yaml.safe_load((chart.folder / "ci" / f"{scenario}.yaml").read_text())["weights"]
    assert checker["image"] == f"{values['check']['image']['repository']}@{values['check']['image']['digest']}"
    assert checker["args"] == ["check", engine["args"][0], "--digest", values["check"]["digest"]]
    # the same folder, and nothing else
    (mount,) = checker["volumeMounts"]
    assert mount in engine["volumeMounts"]
    assert mount["readOnly"] is True
    # and the pod asks for no more because of it
    for kind in ("requests", "limits"):
        assert "nvidia.com/gpu" not in checker["resources"][kind]
        assert checker["resources"][kind].keys() == {"cpu", "memory"}
    assert "env" not in checker


def test_the_arguments_are_the_candidates(chart: Any) -> None:
    args = chart.container("production", "full")["args"]
    assert option(args, "--served-model-name") == "Qwen2.5-7B"
    assert ipaddress.ip_address(option(args, "--host")).is_unspecified
    assert option(args, "--port") == "8000"
    assert option(args, "--max-model-len") == "131072"
    assert option(args, "--dtype") == "bfloat16"
    assert option(args, "--gpu-memory-utilization") == "0.85"
    assert args[-2:] == ["--enable-prefix-caching", "--max-num-seqs=64"]
    assert option(args, "--quantization") == "fp8"
    assert json.loads(option(args, "--speculative-config")) == {
        "method": "ngram",
        "num_speculative_tokens": 5,
        "prompt_lookup_min": 2,
        "prompt_lookup_max": 5,
    }
    assert all(isinstance(argument, str) for argument in args)
    assert "--trust-remote-code" in args
    assert not {"--quantization", "--speculative-config", "--trust-remote-code"} & set(chart.container("production")["args"])


def test_variables_of_the_engine_stand_beside_the_charts_own(chart: Any) -> None:
    variables = {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1", "NCCL_DEBUG": "WARN"}
    plain = chart.container("staging")["env"]

    env = chart.container("staging", above={"engine.variables": variables})["env"]

    assert env == plain + [{"name": name, "value": variables[name]} for name in sorted(variables)]


@pytest.mark.parametrize(
    ("environment", "budget_seconds"),
    [("production", 10), ("production", 250), ("production", 7200), ("staging", 600), ("development", 600)],
)
def test_probes_and_deadline_come_from_the_load_budget(chart: Any, environment: str, budget_seconds: int) -> None:
    above = {"loadBudgetSeconds": budget_seconds}
    container = chart.container(environment, above=above)
    startup, readiness, liveness = (container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe"))
    assert startup["periodSeconds"] * startup["failureThreshold"] == budget_seconds
    assert [probe["httpGet"] for probe in (startup, readiness, liveness)] == [{"path": "/health", "port": "http"}] * 3
    assert "initialDelaySeconds" not in startup
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 120

    deployment = chart.one("Deployment", environment, above=above)["spec"]
    grace_seconds = deployment["template"]["spec"]["terminationGracePeriodSeconds"]
    assert deployment["progressDeadlineSeconds"] >= budget_seconds + grace_seconds + 60


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_stopping_takes_fits_the_grace_period(chart: Any, environment: str) -> None:
    pod = chart.pod(environment)["spec"]
    container = pod["containers"][0]
    sleep_seconds = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain_seconds = int(option(container["args"], "--shutdown-timeout"))
    assert drain_seconds > 0
    assert sleep_seconds + drain_seconds < pod["terminationGracePeriodSeconds"]


def test_production_serves_on_while_routers_forget_the_pod(chart: Any) -> None:
    assert chart.container("production")["lifecycle"]["preStop"]["sleep"]["seconds"] > 0


def test_selectors_stay_the_same_whatever_changes(chart: Any) -> None:
    other = {"candidate.fingerprint": "f" * 64, "podLabels": {"team": "search", "tier": "gold"}, "replicas": 3, "engine.maxModelLen": 512}
    for above in ({}, other):
        for environment in ENVIRONMENTS:
            deployment = chart.one("Deployment", environment, above=above)["spec"]
            assert deployment["selector"] == {"matchLabels": SELECTOR}
            assert SELECTOR.items() <= deployment["template"]["metadata"]["labels"].items()
            assert chart.one("Service", environment, above=above)["spec"]["selector"] == SELECTOR
            assert chart.one("NetworkPolicy", environment, above=above)["spec"]["podSelector"] == {"matchLabels": SELECTOR}
    labels = chart.pod("production", above=other)["metadata"]["labels"]
    assert (labels["team"], labels["tier"]) == ("search", "gold")


def test_pods_carry_the_candidate(chart: Any) -> None:
    pod = chart.pod("production", "full")["metadata"]
    fingerprint = pod["annotations"]["slipway.dev/fingerprint"]
    assert fingerprint == "1234567890" * 6 + "1234"
    assert pod["labels"]["slipway.dev/candidate"] == fingerprint[:40]
    assert pod["labels"]["slipway.dev/environment"] == "production"
    assert chart.one("Deployment", "production", "full")["metadata"]["annotations"]["slipway.dev/fingerprint"] == fingerprint


def test_an_environment_whose_name_reads_as_a_boolean_stays_text(chart: Any) -> None:
    assert chart.pod(above={"environment": "on"})["metadata"]["labels"]["slipway.dev/environment"] == "on"


def test_a_new_chart_version_alone_restarts_no_pod(chart: Any) -> None:
    assert "helm.sh/chart" in chart.one("Deployment")["metadata"]["labels"]
    assert "helm.sh/chart" not in chart.pod()["metadata"]["labels"]


@pytest.mark.parametrize("name", ["tiny-llama-production", "a" * 53, "true", "null"])
def test_the_service_has_the_given_name_and_port(chart: Any, name: str) -> None:
    above = {"fullname": name}
    service = chart.one("Service", above=above)
    assert service["metadata"]["name"] == name
    assert chart.one("Deployment", above=above)["metadata"]["name"] == name
    (port,) = service["spec"]["ports"]
    assert port["port"] == 8000
    (opened,) = chart.container(above=above)["ports"]
    assert (opened["name"], opened["containerPort"]) == (port["targetPort"], 8000)


def test_no_chat_template_means_no_config_map(chart: Any) -> None:
    assert [document for document in chart.render() if document["kind"] == "ConfigMap"] == []
    assert "--chat-template" not in chart.container()["args"]


@pytest.mark.parametrize("text", ["{{ messages }}", "a\n\n  b: {{- x }}\n\n", "\n{# 'quoted' \"twice\" #}\t<|im_start|>", "# ünïcode \\n"])
def test_a_chat_template_reaches_the_engine_unchanged(chart: Any, text: str) -> None:
    above = {"engine.chatTemplate": text}
    config = chart.one("ConfigMap", above=above)
    pod = chart.pod(above=above)["spec"]
    path = option(pod["containers"][0]["args"], "--chat-template")
    folder, _, name = path.rpartition("/")
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["mountPath"] == folder]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    assert config["data"] == {name: text}
    assert config["immutable"] is True


def test_another_chat_template_is_another_config_map(chart: Any) -> None:
    names = {chart.one("ConfigMap", above={"engine.chatTemplate": text})["metadata"]["name"] for text in ("one", "two")}
    assert len(names) == 2


def test_guessing_by_the_checkpoints_own_layers_looks_nothing_up(chart: Any) -> None:
    args = chart.container(above={"engine.speculative": {"method": "mtp", "tokens": 1, "lookupMin": 9}})["args"]
    assert json.loads(option(args, "--speculative-config")) == {"method": "mtp", "num_speculative_tokens": 1}


@pytest.mark.parametrize("scenario", ["full", "keda"])
def test_compiled_code_is_kept_for_this_candidate_alone(chart: Any, scenario: str) -> None:
    pod = chart.pod("production", scenario)["spec"]
    values = chart.merged_values({}, "production", scenario)
    engine, preparing = pod["containers"][0], pod["initContainers"][1]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "compiled"]
    (mount,) = [mount for mount in engine["volumeMounts"] if mount["name"] == "compiled"]
    (above,) = preparing["volumeMounts"]
    parts = mount["subPath"].split("/")
    assert parts[0] == "production"
    assert parts[1] == f"{values['image']['digest'][7:23]}-{values['compileCache']['gpu']}"
    assert parts[2] == values["candidate"]["fingerprint"][:40]
    # the engine sees what its own user made, and nothing above it
    assert preparing["args"] == ["prepare", f"{above['mountPath']}/{mount['subPath']}"]
    assert above["name"] == "compiled"
    variables = {variable["name"]: variable.get("value", "") for variable in engine["env"]}
    for name in ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE"):
        assert f"{variables[name]}/".startswith(f"{mount['mountPath']}/")
    if scenario == "full":
        # made by the kubelet it would be root's
        assert volume["hostPath"] == {"path": values["compileCache"]["hostPath"], "type": "Directory"}
    else:
        assert volume["persistentVolumeClaim"] == {"claimName": values["compileCache"]["claim"]}
        assert pod["securityContext"]["fsGroup"] == values["security"]["runAsGroup"]


def test_without_a_place_for_it_compiled_code_goes_with_the_pod(chart: Any) -> None:
    pod = chart.pod("production")["spec"]
    assert [container["name"] for container in pod["initContainers"]] == ["check-weights"]
    variables = {variable["name"]: variable.get("value", "") for variable in pod["containers"][0]["env"]}
    assert variables["VLLM_CACHE_ROOT"] == "/home/vllm/.cache/vllm"


def test_pods_are_spread_where_there_may_be_more_than_one(chart: Any) -> None:
    (spread,) = chart.pod("production")["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["maxSkew"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", 1, "ScheduleAnyway")
    assert spread["labelSelector"] == {"matchLabels": SELECTOR}
    assert spread["matchLabelKeys"] == ["pod-template-hash"]
    assert "topologySpreadConstraints" not in chart.pod("development")["spec"]
    assert "topologySpreadConstraints" in chart.pod("development", "hpa")["spec"]
    assert len(chart.pod("production", "full")["spec"]["topologySpreadConstraints"]) == 2


def test_a_priority_class_is_named_where_it_is_given(chart: Any) -> None:
    assert chart.pod("production", "full")["spec"]["priorityClassName"] == "serving"
    assert "priorityClassName" not in chart.pod("production")["spec"]


def test_a_folder_of_the_snapshot_and_mistrals_own_layout_are_served(chart: Any) -> None:
    other = {"engine.loadFormat": "mistral", "weights.subfolder": "fp8/small"}

    container = chart.pod("staging", above=other)["spec"]["containers"][0]

    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "weights"]
    assert container["args"][0] == f"{mount['mountPath']}/fp8/small"
    for argument in ("--load-format", "--config-format", "--tokenizer-mode"):
        assert option(container["args"], argument) == "mistral"
