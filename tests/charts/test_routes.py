"""A way in from outside leads to the model's own paths and to nothing else that the engine answers."""

from __future__ import annotations

from typing import Any


def test_an_ingress_leads_to_the_models_paths_by_one_host_over_tls(chart: Any) -> None:
    ingress = chart.one("Ingress", "production", "full")
    spec = ingress["spec"]
    assert spec["ingressClassName"] == "nginx"
    assert spec["tls"] == [{"hosts": ["qwen.example.com"], "secretName": "qwen-certificate"}]
    (rule,) = spec["rules"]
    assert rule["host"] == "qwen.example.com"
    (path,) = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/v1/", "Prefix")
    assert path["backend"] == {"service": {"name": "qwen-2-5-7b-3f9a1c07-production", "port": {"name": "http"}}}
    assert ingress["metadata"]["annotations"] == {"nginx.ingress.kubernetes.io/proxy-read-timeout": "600"}


def test_an_http_route_hangs_on_the_gateway_and_lets_long_answers_end(chart: Any) -> None:
    spec = chart.one("HTTPRoute", "production", "keda")["spec"]
    assert spec["parentRefs"] == [{"name": "public", "namespace": "gateways", "sectionName": "https"}]
    assert spec["hostnames"] == ["tiny.example.com"]
    (rule,) = spec["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/v1/"}}]
    assert rule["backendRefs"] == [{"name": "tiny-llama-development", "port": 8000}]
    assert rule["timeouts"] == {"request": "600s"}


def test_what_is_not_said_of_a_route_is_left_out(chart: Any) -> None:
    plain = {"route": {"kind": "ingress", "host": "tiny.example.com"}}
    ingress = chart.one("Ingress", "production", above=plain)
    assert ingress["spec"].keys() == {"rules"}
    assert "annotations" not in ingress["metadata"]

    route = chart.one("HTTPRoute", above={"route": {"kind": "httpRoute", "host": "tiny.example.com", "gateway": {"name": "public"}}})
    assert route["spec"]["parentRefs"] == [{"name": "public"}]


def test_a_release_has_no_way_in_unless_one_is_asked_for(chart: Any) -> None:
    assert {document["kind"] for document in chart.render("production")}.isdisjoint({"Ingress", "HTTPRoute", "Gateway"})


def test_the_pod_of_helm_test_asks_the_service_for_this_model(chart: Any) -> None:
    (tester,) = [document for document in chart.render("production", "full") if document["kind"] == "Pod"]
    service = chart.one("Service", "production", "full")
    (container,) = tester["spec"]["containers"]
    assert tester["metadata"]["annotations"]["helm.sh/hook"] == "test"
    port = service["spec"]["ports"][0]["port"]
    assert container["args"] == ["ask", f"http://{service['metadata']['name']}:{port}", "--model", "Qwen2.5-7B"]
    assert container["image"] == chart.pod("production", "full")["spec"]["initContainers"][0]["image"]
