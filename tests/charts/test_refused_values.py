"""Values that must be refused, each with a message that names the field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

COMMIT = "8f3c1d2a4b5e6f708192a3b4c5d6e7f801122334"

#: Overrides as `--set-json` takes them, and how helm names the field that is wrong.
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
    "tag as a key": ({"image.tag": "v0.32.0"}, "'/image': additional properties 'tag'"),
    "short commit": ({"model.commit": COMMIT[:12]}, "'/model/commit'"),
    "branch for a commit": ({"model.commit": "main"}, "'/model/commit'"),
    "repository without organisation": ({"model.repository": "tiny-llama"}, "'/model/repository'"),
    "short fingerprint": ({"candidate.fingerprint": "0" * 40}, "'/candidate/fingerprint'"),
    "no candidate": ({"candidate": None}, "'/candidate'"),
    "no engine window": ({"engine.maxModelLen": None}, "'/engine"),
    "unknown key": ({"replicaCount": 2}, "additional properties 'replicaCount'"),
    "unknown key inside": ({"engine.maxModelLength": 256}, "'/engine': additional properties 'maxModelLength'"),
    "token": ({"engine.hfToken": "hf_example"}, "'/engine': additional properties 'hfToken'"),
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
    "folder of another commit": ({"weights.folder": "models/" + "0" * 40}, "weights.folder is models/0000"),
    "seen as another commit": ({"weights.mountPath": "/models/" + "0" * 40}, "weights.mountPath is /models/0000"),
    "commit as part of a longer name": ({"weights.folder": f"models/not-{COMMIT}"}, "weights.folder is models/not-"),
    "grace period that the sleep uses up": (
        {"terminationGracePeriodSeconds": 15, "preStopSleepSeconds": 10},
        "terminationGracePeriodSeconds is 15 but preStopSleepSeconds is 10",
    ),
    "argument of the chart's own": ({"engine.extraArgs": ["--port=9000"]}, "engine.extraArgs holds --port=9000"),
    "the same with underscores": ({"engine.extraArgs": ["--load_format", "auto"]}, "engine.extraArgs holds --load_format"),
    "label of the chart's own": ({"podLabels": {"slipway.dev/candidate": "x"}}, "podLabels or podAnnotations holds slipway.dev/candidate"),
    "selector label": ({"podLabels": {"app.kubernetes.io/name": "x"}}, "podLabels or podAnnotations holds app.kubernetes.io/name"),
}


def cases(table: dict[str, tuple[dict[str, Any], str]]) -> list[Any]:
    return [pytest.param(above, named, id=name.replace(" ", "-")) for name, (above, named) in table.items()]


@pytest.mark.parametrize(("above", "named"), cases(BY_SCHEMA))
def test_the_schema_refuses_and_names_the_field(chart: Any, above: dict[str, Any], named: str) -> None:
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
    extra = ["--max-model-len-warning", "--dtype-of-cache=fp8"]
    assert chart.container(above={"engine.extraArgs": extra})["args"][-2:] == extra


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
