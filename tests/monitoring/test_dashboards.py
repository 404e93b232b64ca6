"""The dashboards: written from the code, known to Grafana's model, laid out without holes. test_queries.py asks what they ask."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from flows.metrics.dashboards import DASHBOARDS
from flows.metrics.dashboards.grafana import document, text
from flows.record.phases import BUDGET_SECONDS
from flows.spec import LatencyPolicy
from tests.monitoring.conftest import CHART, lost


def understood(dashboard: dict[str, Any]) -> dict[str, Any]:
    """What Grafana's own model makes of it."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    kept: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(dashboard)))
    return kept


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_file_is_what_the_code_writes(name: str) -> None:
    assert (CHART / "dashboards" / f"{name}.json").read_text() == text(DASHBOARDS[name]), "run `python -m flows.metrics.dashboards`"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafanas_model_knows_every_field(name: str) -> None:
    dashboard = document(DASHBOARDS[name])

    assert lost(dashboard, understood(dashboard)) == []


def test_a_field_that_grafana_does_not_know_would_be_noticed() -> None:
    dashboard = copy.deepcopy(document(DASHBOARDS["gpus"]))
    dashboard["panels"][1]["fieldConfigs"] = {}

    assert lost(dashboard, understood(dashboard)) == ["/panels/1/fieldConfigs"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_lie_beside_each_other_and_say_what_they_show(name: str) -> None:
    panels = document(DASHBOARDS[name])["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"].endswith("."), panel["title"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    # No line of a row has a hole: every row of cells is full.
    assert all((x, y) in taken for y in {y for _, y in taken} for x in range(24))


def test_no_two_dashboards_have_one_address() -> None:
    assert len({dashboard.uid for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS) == 3


def test_the_lines_are_drawn_at_the_targets() -> None:
    def limit(name: str, title: str) -> float | None:
        return next(panel.limit for panels in DASHBOARDS[name].rows.values() for panel in panels if panel.title == title)

    policy = LatencyPolicy()
    assert (limit("inference", "First token, median"), limit("inference", "First token, P95")) == (policy.p50_seconds, policy.p95_seconds)
    assert limit("deployments", "Time of a release") == BUDGET_SECONDS == 600
    assert limit("deployments", "Time of a rollback") == 300
    assert limit("deployments", "From verdict to route") == 120
