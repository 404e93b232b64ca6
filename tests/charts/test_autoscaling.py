"""The number of pods follows the queue of waiting requests, and no pod goes before a new one could have come."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.engine.metrics import Metrics

#: What the engine calls its queue (see the stand-in, which has the real one's names).
QUEUE = "vllm:num_requests_waiting"


def down(scaler: dict[str, Any]) -> dict[str, Any]:
    spec = scaler["spec"]
    behavior = spec["behavior"] if "behavior" in spec else spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    return dict(behavior["scaleDown"])


@pytest.mark.parametrize("environment", ["development", "production"])
def test_keda_asks_for_this_models_queue_in_this_namespace(chart: Any, environment: str) -> None:
    spec = chart.one("ScaledObject", environment, "keda")["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 6)
    (trigger,) = spec["triggers"]
    assert (trigger["type"], trigger["metricType"]) == ("prometheus", "AverageValue")
    assert trigger["metadata"] == {
        "serverAddress": "http://prometheus.monitoring:9090",
        "query": f'sum({QUEUE}{{namespace="llm-{environment}",model_name="tiny-llama"}})',
        "threshold": "8",
        "ignoreNullValues": "false",
    }


def test_the_queue_is_a_metric_that_the_engine_has_with_the_label_that_is_asked_for() -> None:
    samples = [line for line in Metrics("tiny-llama").render().decode().splitlines() if line.startswith(f"{QUEUE}{{")]
    assert len(samples) == 1
    assert 'model_name="tiny-llama"' in samples[0]


def test_an_hpa_asks_for_the_same_as_an_external_metric(chart: Any) -> None:
    spec = chart.one("HorizontalPodAutoscaler", "production", "hpa")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 4)
    (metric,) = spec["metrics"]
    assert metric["external"] == {
        "metric": {
            "name": QUEUE.replace(":", "_"),
            "selector": {"matchLabels": {"namespace": "llm-production", "model_name": "tiny-llama"}},
        },
        "target": {"type": "AverageValue", "averageValue": "4"},
    }


@pytest.mark.parametrize(("scenario", "kind"), [("keda", "ScaledObject"), ("hpa", "HorizontalPodAutoscaler")])
@pytest.mark.parametrize("budget_seconds", [10, 600, 3540])
def test_no_pod_goes_before_a_new_one_could_have_loaded(chart: Any, scenario: str, kind: str, budget_seconds: int) -> None:
    scaler = chart.one(kind, "production", scenario, above={"loadBudgetSeconds": budget_seconds})
    waits = down(scaler)
    # an HPA's window holds no more than an hour
    assert budget_seconds < waits["stabilizationWindowSeconds"] <= 3600
    assert waits["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    if kind == "ScaledObject":
        assert scaler["spec"]["cooldownPeriod"] == waits["stabilizationWindowSeconds"]


@pytest.mark.parametrize("scenario", ["keda", "hpa"])
def test_the_deployment_leaves_the_number_of_pods_to_the_autoscaler(chart: Any, scenario: str) -> None:
    assert "replicas" not in chart.one("Deployment", "production", scenario)["spec"]
    assert [document["kind"] for document in chart.render("production") if "Scale" in document["kind"]] == []
