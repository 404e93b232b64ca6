"""Values that must be refused, each with a message that names the field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest

from tests.charts.conftest import ENVIRONMENTS, SCENARIOS

COMMIT = "8f3c1d2a4b5e6f708192a3b4c5d6e7f801122334"

#: Overrides as `--set-json` takes them, and the field that is wrong.
BY_SCHEMA: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"fullname": None}, "'/fullname'"),
    "upper case name": ({"fullname": "Tiny-Llama"}, "'/fullname'"),
    "name that begins with a digit": ({"fullname": "7b-production"}, "'/fullname'"),
    "name that ends in a hyphen": ({"fullname": "tiny-"}, "'/fullname'"),
    "name longer than Helm takes": ({"fullname": "a" * 54}, "'/fullname'"),
    "environment with a hyphen": ({"environment": "pre-production"}, "'/environment'"),
    "tag instead of digest": ({"image.digest": "latest"}, "'/image/digest'"),
    "digest of another algorithm": ({"image.digest": "md5:" + "0" * 32}, "'/image/digest'"),
    "tag in the repository": ({"image.repository": "vllm/vllm-openai:latest"}, "'/image/repository'"),
    "tag as a key": ({"image.tag": "v0.32.0"}, "'/image': Additional properties are not allowed ('tag' was unexpected)"),
    "short commit": ({"model.commit": COMMIT[:12]}, "'/model/commit'"),
    "branch for a commit": ({"model.commit": "main"}, "'/model/commit'"),
    "repository without organisation": ({"model.repository": "tiny-llama"}, "'/model/repository'"),
    "short fingerprint": ({"candidate.fingerprint": "0" * 40}, "'/candidate/fingerprint'"),
    "no candidate": ({"candidate": None}, "'/candidate'"),
    "no engine window": ({"engine.maxModelLen": None}, "'/engine"),
    "unknown key": ({"replicaCount": 2}, "Additional properties are not allowed ('replicaCount' was unexpected)"),
    "unknown key inside": (
        {"engine.maxModelLength": 256},
        "'/engine': Additional properties are not allowed ('maxModelLength' was unexpected)",
    ),
    "token": ({"engine.hfToken": "hf_example"}, "'/engine': Additional properties are not allowed ('hfToken' was unexpected)"),
    "no replicas": ({"replicas": 0}, "'/replicas'"),
    "negative replicas": ({"replicas": -1}, "'/replicas'"),
    "half a replica": ({"replicas": 1.5}, "'/replicas'"),
    "all GPU memory and more": ({"engine.gpuMemoryUtilization": 1.1}, "'/engine/gpuMemoryUtilization'"),
    "unknown dtype": ({"engine.dtype": "int8"}, "'/engine/dtype'"),
    "unknown strategy": ({"rollout.strategy": "canary"}, "'/rollout/strategy'"),
    "budget that is no whole number of seconds": ({"loadBudgetSeconds": 600.5}, "'/loadBudgetSeconds'"),
    "no memory limit": ({"resources.limits.memory": None}, "'/resources/limits"),
    "memory without a unit": ({"resources.limits.memory": "48"}, "'/resources/limits/memory'"),
    "absolute folder": ({"weights.folder": f"/models/{COMMIT}"}, "'/weights/folder'"),
    "weights that nothing checks": ({"weights.check": None}, "'/weights/check'"),
    "check with a tag": ({"weights.check.image.digest": "latest"}, "'/weights/check/image/digest'"),
    "check of half a digest": ({"weights.check.digest": "0" * 40}, "'/weights/check/digest'"),
    "folder that climbs": ({"weights.folder": f"models/../{COMMIT}"}, "'/weights/folder'"),
    "root": ({"security.runAsUser": 0}, "'/security/runAsUser'"),
    "engine that guesses by a second model": ({"engine.speculative.method": "eagle"}, "'/engine/speculative/method'"),
    "variable of the loader": ({"engine.variables": {"LD_PRELOAD": "/tmp/x.so"}}, "'/engine/variables'"),
    "unknown autoscaler": ({"autoscaling.kind": "vpa"}, "'/autoscaling/kind'"),
    "no pods at the least": ({"autoscaling.minReplicas": 0}, "'/autoscaling/minReplicas'"),
    "Prometheus without a scheme": ({"autoscaling.prometheus": "prometheus:9090"}, "'/autoscaling/prometheus'"),
    "any host": ({"route.host": "*"}, "'/route/host'"),
    "relative cache": ({"compileCache.hostPath": "cache"}, "'/compileCache/hostPath'"),
    "spread that is no rule": ({"topologySpread": [{"topologyKey": "zone"}]}, "'/topologySpread/0'"),
    "label with a space": ({"podLabels": {"team": "a b"}}, "'/podLabels/team'"),
    "peer that is everybody": (
        {"networkPolicy.routers": [{"namespaceLabels": {}, "podLabels": {"app": "router"}}]},
        "'/networkPolicy/routers/0/namespaceLabels'",
    ),
    "peer in any namespace": ({"networkPolicy.verifiers": [{"podLabels": {"app": "worker"}}]}, "'/networkPolicy/verifiers/0'"),
    "everybody as the control plane": ({"networkPolicy.controlPlane": ["0.0.0.0/0"]}, "'/networkPolicy/controlPlane/0'"),
}

BETWEEN_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "more ranks than GPUs": ({"engine.tensorParallelSize": 2}, "engine.tensorParallelSize is 2 but resources.requests.nvidia.com/gpu is 1"),
    "more GPUs at the limit than asked for": (
        {"resources.limits": {"nvidia.com/gpu": 2}},
        "engine.tensorParallelSize is 1 but resources.limits.nvidia.com/gpu is 2",
    ),
    "more ranks by arguments than GPUs": (
        {"engine.tensorParallelSize": 2, "engine.gpus": 4, "resources.requests": {"nvidia.com/gpu": 2}},
        "engine.gpus is 4 but resources.requests.nvidia.com/gpu is 2",
    ),
    "ranks that do not add up": ({"engine.tensorParallelSize": 2, "engine.gpus": 3}, "engine.gpus is 3 but engine.tensorParallelSize is 2"),
    "folder of another commit": ({"weights.folder": "models/" + "0" * 40}, "weights.folder is models/0000"),
    "seen as another commit": ({"weights.mountPath": "/models/" + "0" * 40}, "weights.mountPath is /models/0000"),
    "commit as part of a longer name": ({"weights.folder": f"models/not-{COMMIT}"}, "weights.folder is models/not-"),
    "grace period that the sleep uses up": (
        {"terminationGracePeriodSeconds": 15, "preStopSleepSeconds": 10},
        "terminationGracePeriodSeconds is 15 but preStopSleepSeconds is 10",
    ),
    "variable of the chart's own": ({"engine.variables": {"VLLM_CACHE_ROOT": "/x"}}, "engine.variables holds VLLM_CACHE_ROOT"),
    "variable that loads code": ({"engine.variables": {"VLLM_PLUGINS": "x"}}, "engine.variables holds VLLM_PLUGINS"),
    "variable made of another": ({"engine.variables": {"NCCL_DEBUG": "$(HOME)"}}, "engine.variables.NCCL_DEBUG holds $("),
    "argument of the chart's own": ({"engine.extraArgs": ["--port=9000"]}, "engine.extraArgs holds --port=9000"),
    "the same with underscores": ({"engine.extraArgs": ["--load_format", "auto"]}, "engine.extraArgs holds --load_format"),
    "beginning of an argument": (
        {"engine.extraArgs": ["--load-f", "pt"]},
        "engine.extraArgs holds --load-f: it would weaken the environment, or vLLM 0.32.0 has no",
    ),
    "value that is glued to it": ({"engine.extraArgs": ["-qfp8"]}, "engine.extraArgs holds -qfp8: it would"),
    "key of an argument": ({"engine.extraArgs": ["-sc.model=x"]}, "engine.extraArgs holds -sc.model=x: the chart sets"),
    "code that is not the image's": (
        {"engine.extraArgs": ["--middleware", "x.Y"]},
        "engine.extraArgs holds --middleware: it would weaken",
    ),
    "autoscaler and a number of pods": (
        {"autoscaling.kind": "hpa"},
        "replicas is 2 but autoscaling.kind is hpa: the autoscaler owns the number of pods",
    ),
    "nobody says how many pods": ({"replicas": None}, "replicas is missing: set a number of pods, or let an autoscaler choose"),
    "fewer at the most than at the least": (
        {"replicas": None, "autoscaling": {"kind": "hpa", "minReplicas": 3}},
        "autoscaling.minReplicas is 3 but autoscaling.maxReplicas is 2",
    ),
    "cold start that no autoscaler waits for": (
        {"replicas": None, "autoscaling.kind": "hpa", "loadBudgetSeconds": 3541},
        "autoscaling.kind is hpa but loadBudgetSeconds is 3541",
    ),
    "KEDA that asks nobody": ({"replicas": None, "autoscaling.kind": "keda"}, "autoscaling.prometheus is empty"),
    "name too long for an external metric": (
        {"replicas": None, "autoscaling.kind": "hpa", "model.name": "m" * 64},
        "autoscaling.kind is hpa but model.name has 64 characters",
    ),
    "route for every host": ({"route.kind": "ingress"}, "route.kind is ingress but route.host is empty"),
    "route on no gateway": (
        {"route.kind": "httpRoute", "route.host": "tiny.example.com"},
        "route.kind is httpRoute but route.gateway.name is empty",
    ),
    "two caches": (
        {"compileCache.hostPath": "/cache", "compileCache.claim": "cache"},
        "compileCache.hostPath and compileCache.claim are both set",
    ),
    "least over most": (
        {"engine.speculative": {"method": "ngram", "lookupMin": 5}},
        "engine.speculative.lookupMin is 5 but engine.speculative.lookupMax is 4",
    ),
    "adapter that nothing checks": ({"engine.extraArgs": ["--lora-modules", "sql=/a"]}, "engine.extraArgs holds --lora-modules"),
    "argument with a value of its own": ({"engine.extraArgs": ["-q", "fp8"]}, "engine.extraArgs holds -q"),
    "label of the chart's own": ({"podLabels": {"slipway.dev/candidate": "x"}}, "podLabels or podAnnotations holds slipway.dev/candidate"),
    "selector label": ({"podLabels": {"app.kubernetes.io/name": "x"}}, "podLabels or podAnnotations holds app.kubernetes.io/name"),
}


def cases(table: dict[str, tuple[dict[str, Any], str]]) -> list[Any]:
    return [pytest.param(above, named, id=name.replace(" ", "-")) for name, (above, named) in table.items()]


@pytest.fixture(scope="module")
def schema(chart: Any) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((chart.folder / "values.schema.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(("above", "named"), cases(BY_SCHEMA))
def test_the_schema_refuses_and_names_the_field(
    chart: Any, schema: jsonschema.Draft202012Validator, above: Mapping[str, Any], named: str
) -> None:
    said = [f"'/{'/'.join(map(str, error.absolute_path))}': {error.message}" for error in schema.iter_errors(chart.merged_values(above))]
    assert [sentence for sentence in said if named in sentence]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_schema_takes_every_scenario(chart: Any, schema: jsonschema.Draft202012Validator, environment: str, scenario: str) -> None:
    assert list(schema.iter_errors(chart.merged_values({"environment": environment}, environment, scenario))) == []


@pytest.mark.parametrize(
    ("above", "named"),
    [
        ({"image.digest": "latest"}, "'/image/digest'"),
        ({"engine.hfToken": "hf_example"}, "'/engine': additional properties 'hfToken'"),
        ({"weights.check": None}, "'/weights/check': got null"),
    ],
)
def test_helm_asks_the_schema(chart: Any, above: dict[str, Any], named: str) -> None:
    said = chart.refusal(above)
    assert named in said
    assert "don't meet the specifications of the schema" in said


@pytest.mark.parametrize(("above", "named"), cases(BETWEEN_FIELDS))
def test_rules_between_fields_end_in_one_sentence(chart: Any, above: dict[str, Any], named: str) -> None:
    said = chart.refusal(above)
    assert named in said
    assert said.split("):", 1)[1].strip().splitlines()[0].endswith(".")


def test_a_secret_among_the_arguments_is_refused_and_not_repeated(chart: Any) -> None:
    said = chart.refusal({"engine.extraArgs": ["--api-key=hush"]})
    assert "engine.extraArgs holds --api-key:" in said
    assert "hush" not in said


def test_arguments_that_only_begin_like_the_charts_own_are_passed_on(chart: Any) -> None:
    extra = ["--seed", "-1", "--chat-template-content-format=openai"]
    assert chart.container(above={"engine.extraArgs": extra})["args"][-3:] == extra


def test_every_object_of_the_schema_is_closed_and_described(chart: Any) -> None:
    schema = json.loads((chart.folder / "values.schema.json").read_text(encoding="utf-8"))

    def objects(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        if isinstance(node, dict):
            if node.get("type") == "object":
                yield path, node
            for key, value in node.items():
                yield from objects(value, f"{path}/{key}")
        elif isinstance(node, list):
            for index, value in enumerate(node):
                yield from objects(value, f"{path}/{index}")

    found = dict(objects(schema, ""))
    assert len(found) > 15
    assert [path for path, node in found.items() if node.get("additionalProperties") is not False] == []
    shared = schema["$defs"]
    undescribed = [
        f"{path}/{key}"
        for path, node in found.items()
        for key, value in node.get("properties", {}).items()
        if "description" not in value and "description" not in shared.get(value.get("$ref", "").rpartition("/")[2], {})
    ]
    assert undescribed == []
