"""Every panel, variable and rule asked of a real Prometheus: none is empty, none is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from flows.spec.load import ROOT
from tests.monitoring.conftest import CHART
from tests.monitoring.watched import FINGERPRINT, Watched, watched

DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((CHART / "dashboards").glob("*.json"))}
QUERIES = {
    (name, panel["title"], target["legendFormat"]): target["expr"]
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    for target in panel.get("targets", [])
}
VARIABLES = {
    (name, variable["name"]): variable["query"]["query"]
    for name, dashboard in DASHBOARDS.items()
    for variable in dashboard["templating"]["list"]
    if variable["type"] == "query"
}
#: What Grafana puts in before it asks; the scrape interval here is one second.
GRAFANA = {"$__rate_interval": "4s", "$__range": "1h", "$environment": ".*", "$model": ".*", "$node": ".*"}


def filled_in(query: str) -> str:
    for name, value in GRAFANA.items():
        query = query.replace(name, value)
    assert "$" not in query.replace('"$1"', ""), query
    return query


def no_panel_is_empty(asked: Watched) -> None:
    assert len(QUERIES) > 40

    empty = asked.unanswered({panel: filled_in(query) for panel, query in QUERIES.items()})

    assert not empty, f"these ask for what nobody tells: {empty}"


def a_panel_that_asks_for_what_nobody_tells_would_be_noticed(asked: Watched) -> None:
    assert asked.values('vllm:num_requests_running{environment="production"}')
    assert not asked.values('vllm:num_request_running{environment="production"}')
    with pytest.raises(AssertionError, match="parse error"):
        asked.values("sum by (environment) rate(x[5m])")


def every_choice_has_something_to_choose(asked: Watched) -> None:
    for variable in VARIABLES.values():
        matched = re.fullmatch(r"label_values\((.*), (\w+)\)", variable)
        assert matched is not None, variable
        query, label = matched.groups()

        assert {labels.get(label) for labels, _ in asked.values(filled_in(query))} & {"production", "tiny", "gpu-1"}, variable


def a_series_says_where_it_comes_from_and_survives_its_pod(asked: Watched) -> None:
    (engine, _) = asked.values("vllm:kv_cache_usage_perc")[0]
    (status, _) = asked.values("slipway_model_status")[0]

    assert (engine["environment"], engine["candidate"], engine["model_name"]) == ("production", FINGERPRINT[:40], "tiny")
    assert (engine["namespace"], engine["pod"]) == ("llm-production", "tiny-0")
    # Another pod of the exporter would tell the same series.
    assert status["instance"] == "slipway-exporter"
    assert not {"pod", "container", "endpoint"} & set(status)


def every_rule_is_evaluated_and_every_recording_records(asked: Watched) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in asked.api("rules")["groups"] for rule in group["rules"]]

    asked.until(lambda: all(rule["health"] == "ok" for rule in rules()))
    assert [rule["lastError"] for rule in rules() if rule.get("lastError")] == []
    recorded = {rule["name"]: rule["name"] for rule in rules() if rule["type"] == "recording"}
    assert len(recorded) >= 20
    assert not asked.unanswered(recorded)


def the_failure_and_the_rollback_are_told(asked: Watched) -> None:
    firing = 'ALERTS{alertstate="firing"}'

    names = asked.until(lambda: len(found := {labels["alertname"] for labels, _ in asked.values(firing)}) > 1 and found)

    assert names == {"SlipwayReleaseFailed", "SlipwayRollbackUsed"}


def what_the_pages_tell_people_to_ask_can_be_asked(asked: Watched) -> None:
    pages = [ROOT / "docs" / "observability.md", *sorted((ROOT / "docs" / "runbooks").glob("*.md"))]
    queries = [query for page in pages for query in re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL)]

    assert len(queries) > 10
    assert not asked.unanswered({query: query for query in queries})


def every_metric_of_the_exporter_is_explained(asked: Watched) -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    told = [name for name in asked.api("label/__name__/values") if name.startswith("slipway_") and not name.endswith("_created")]
    names = {re.sub("_(bucket|count|sum)$", "", name) for name in told}

    assert len(names) >= 12
    assert [name for name in sorted(names) if not re.search(rf"^\|.*`{name}`.*\|", page, re.MULTILINE)] == []


def test_everything_that_is_asked_is_answered(prometheus: Path, tmp_path: Path) -> None:
    # One test: a Prometheus with something to scrape takes ten seconds to get going, and workers cannot share one.
    with watched(prometheus, tmp_path) as asked:
        no_panel_is_empty(asked)
        a_panel_that_asks_for_what_nobody_tells_would_be_noticed(asked)
        every_choice_has_something_to_choose(asked)
        a_series_says_where_it_comes_from_and_survives_its_pod(asked)
        every_rule_is_evaluated_and_every_recording_records(asked)
        the_failure_and_the_rollback_are_told(asked)
        what_the_pages_tell_people_to_ask_can_be_asked(asked)
        every_metric_of_the_exporter_is_explained(asked)
