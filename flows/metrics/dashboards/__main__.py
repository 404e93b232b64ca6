"""Writes the dashboards' JSON into the chart."""

from __future__ import annotations

from flows.metrics.dashboards import DASHBOARDS
from flows.metrics.dashboards.grafana import text
from flows.spec.load import ROOT

for name, dashboard in DASHBOARDS.items():
    path = ROOT / "charts" / "monitoring" / "dashboards" / f"{name}.json"
    path.write_text(text(dashboard), encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}")
