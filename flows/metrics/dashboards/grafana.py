"""Writes a dashboard the way Grafana reads it (schema 36, which Grafana 9 and everything since understands)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flows.metrics.dashboards.panels import Dashboard, Panel, Variable

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_HEIGHTS = {"timeseries": 8, "stat": 4, "table": 8}
_COLUMNS = 24


def text(dashboard: Dashboard) -> str:
    """The JSON of a dashboard, as its file holds it."""
    return json.dumps(document(dashboard), indent=2, ensure_ascii=False) + "\n"


def document(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana's model has it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.help,
        "tags": ["slipway"],
        "schemaVersion": 36,
        "editable": True,
        # The cross-hair is in all panels at once.
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [
            {"type": "dashboards", "title": "Slipway", "tags": ["slipway"], "asDropdown": True, "keepTime": True, "includeVars": True}
        ],
        "templating": {"list": [_source(), *map(_variable, dashboard.variables)]},
        "panels": list(_panels(dashboard)),
    }


def _source() -> dict[str, Any]:
    return {"type": "datasource", "name": "datasource", "label": "data source", "query": "prometheus", "hide": 0}


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "type": "query",
        "name": variable.name,
        "label": variable.name,
        "datasource": _SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        # Values are asked for whenever the time that is shown changes.
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        # Or every query would hold the list of all values.
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """Rows from above, panels from the left; a panel that does not fit beside the others begins a new line."""
    number, y = 0, 0
    for heading, panels in dashboard.rows.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": heading,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 1},
            "panels": [],
        }
        x, y, height = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > _COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            yield _panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": _HEIGHTS[panel.kind]})
            x, height = x + panel.width, max(height, _HEIGHTS[panel.kind])
        y += height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": place,
        # Grafana tells the queries of a panel apart by a letter.
        "targets": [
            _target(panel, letter, legend, query) for letter, (legend, query) in zip("ABCDEFGH", panel.queries.items(), strict=False)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        **({"transformations": _COLUMNS_ONLY} if panel.kind == "table" else {}),
    }


def _target(panel: Panel, letter: str, legend: str, query: str) -> dict[str, Any]:
    # Numbers and tables are of now: one instant query instead of a range of them.
    now = panel.kind != "timeseries"
    table = {"format": "table"} if panel.kind == "table" else {}
    return {"refId": letter, "datasource": _SOURCE, "expr": query, "legendFormat": legend, "instant": now, "range": not now, **table}


def _defaults(panel: Panel) -> dict[str, Any]:
    # Grafana wants a first step without a value: from the lowest on.
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    shown: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}, "noValue": "none"}
    if panel.kind == "timeseries":
        shown["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 0,
            "showPoints": "auto",
            "stacking": {"mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "off" if panel.limit is None else "line"},
        }
    return shown


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if panel.kind == "stat":
        reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {
            "reduceOptions": reduced,
            "colorMode": "value",
            "graphMode": "none",
            "textMode": "auto",
            "justifyMode": "auto",
            "orientation": "auto",
        }
    return {"showHeader": True}


#: A table is of labels: when it was asked, and how Prometheus came by it, is nobody's concern.
_COLUMNS_ONLY = [
    {
        "id": "organize",
        "options": {"excludeByName": dict.fromkeys(("Time", "Value", "__name__", "instance", "job", "namespace", "service"), True)},
    }
]
