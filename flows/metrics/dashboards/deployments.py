"""What serves where, what is being released, and whether Slipway keeps its promises about time."""

from __future__ import annotations

from blocks.facts.kinds import EventKind
from flows.metrics.dashboards.panels import Dashboard, Panel, Variable
from flows.record.phases import BUDGET_SECONDS

#: What a rollback may take, in seconds.
ROLLBACK_SECONDS = 300.0

#: What may pass from the record of a verified candidate until routers know of it, in seconds.
ROUTE_SECONDS = 120.0

_PLACE = 'environment=~"$environment", model=~"$model"'
_WHERE = 'environment=~"$environment"'

# `or vector(0)`: a sum over no series is not 0 but nothing, and the panel would be empty.
_NOW = (
    Panel(
        title="Ready",
        help="Models that are routed, counted once in each environment.",
        queries={"ready": f'sum(slipway_model_status{{status="ready", {_PLACE}}}) or vector(0)'},
        kind="stat",
        width=4,
    ),
    Panel(
        title="Degraded",
        help="Models that health checks or a verification took out of routing.",
        queries={"degraded": f'sum(slipway_model_status{{status="degraded", {_PLACE}}}) or vector(0)'},
        kind="stat",
        limit=1,
        width=4,
    ),
    Panel(
        title="Under way",
        help="Models that a run is changing at the moment.",
        queries={"locks": f"count(slipway_lock_held_seconds{{{_PLACE}}}) or vector(0)"},
        kind="stat",
        width=4,
    ),
    Panel(
        title="Approvals waiting",
        help="Requests that wait for a person.",
        queries={"waiting": f"sum(slipway_approvals_waiting{{{_WHERE}}}) or vector(0)"},
        kind="stat",
        width=4,
    ),
    Panel(
        title="Oldest approval",
        help="How long the oldest request has waited; an alert tells after four hours.",
        queries={"age": f"max(slipway_approval_oldest_seconds{{{_WHERE}}}) or vector(0)"},
        unit="s",
        kind="stat",
        limit=4 * 3600,
        width=4,
    ),
    Panel(
        title="Registry answers",
        help="1 while the exporter can read the registry; everything on this page is from there.",
        queries={"up": "min(slipway_exporter_up)"},
        kind="stat",
        width=4,
    ),
    Panel(
        title="What serves where",
        help="The status of each model in each environment.",
        queries={"": f"slipway_model_status{{{_PLACE}}} == 1"},
        kind="table",
        width=12,
    ),
    Panel(
        title="Alerts",
        help="What fires now; each alert names its runbook.",
        queries={"": 'ALERTS{alertname=~"Slipway.+", alertstate="firing"}'},
        kind="table",
        width=12,
    ),
)

_RELEASES = (
    Panel(
        title="Releases and rollbacks",
        help="Over the time that is shown: candidates that became ready, that failed, and rollbacks.",
        queries={
            "ready": f'sum(increase(slipway_events_total{{kind="{EventKind.READY}", {_WHERE}}}[$__range]))',
            "failed": f'sum(increase(slipway_events_total{{kind="{EventKind.FAILED}", {_WHERE}}}[$__range]))',
            "rolled back": f'sum(increase(slipway_events_total{{kind="{EventKind.ROLLED_BACK}", {_WHERE}}}[$__range]))',
        },
        kind="stat",
        width=24,
    ),
    Panel(
        title="Time of a release",
        help="Of the last week's: resolve to record, without waiting for people. At the 95th percentile ten minutes at most.",
        queries={
            "P95 {{environment}}": f"environment:slipway_release_seconds:p95_1w{{{_WHERE}}}",
            "P50 {{environment}}": "histogram_quantile(0.5, sum by (environment, le) "
            f"(increase(slipway_release_seconds_bucket{{{_WHERE}}}[1w])))",
        },
        unit="s",
        limit=BUDGET_SECONDS,
    ),
    Panel(
        title="Time of a rollback",
        help="Of the last week's: request to record. Five minutes at most.",
        queries={"P95 {{environment}}": f"environment:slipway_rollback_seconds:p95_1w{{{_WHERE}}}"},
        unit="s",
        limit=ROLLBACK_SECONDS,
    ),
    Panel(
        title="From verdict to route",
        help="Of the last week's: what it took to record a verified candidate; from then on it is routed to. Two minutes at most.",
        queries={
            "P95 {{environment}}": "histogram_quantile(0.95, sum by (environment, le) "
            f'(increase(slipway_phase_seconds_bucket{{phase="record", {_WHERE}}}[1w])))'
        },
        unit="s",
        limit=ROUTE_SECONDS,
    ),
    Panel(
        title="Where the time goes",
        help="The mean of each phase over the last week, stacked.",
        queries={
            "{{phase}}": f"sum by (phase) (increase(slipway_phase_seconds_sum{{{_WHERE}}}[1w])) "
            f"/ sum by (phase) (increase(slipway_phase_seconds_count{{{_WHERE}}}[1w]))"
        },
        unit="s",
        stacked=True,
        width=12,
    ),
    Panel(
        title="Brought to nodes",
        help="Bytes of weights that releases fetched, a day.",
        queries={"{{environment}}": f"sum by (environment) (increase(slipway_prefetch_bytes_total{{{_WHERE}}}[1d]))"},
        unit="bytes",
        width=12,
    ),
)

_HEALTH = (
    Panel(
        title="Verdicts",
        help="Verifications a day by their outcome, those of releases and those of the night.",
        queries={"{{outcome}}": f"sum by (outcome) (increase(slipway_verdicts_total{{{_WHERE}}}[1d]))"},
        stacked=True,
    ),
    Panel(
        title="Since the last verification",
        help="What serves is verified every night; an alert tells after 26 hours.",
        queries={
            "{{model}} {{environment}}": "time() - max by (model, environment) "
            f'(slipway_last_event_timestamp_seconds{{kind="{EventKind.VERIFIED}", {_PLACE}}})'
        },
        unit="s",
        limit=26 * 3600,
    ),
    Panel(
        title="Since the last health check",
        help="The monitor looks every minute at what is ready; an alert tells after five.",
        queries={"{{environment}}": f"max by (environment) (slipway_monitor_lag_seconds{{{_WHERE}}})"},
        unit="s",
        limit=300,
    ),
    Panel(
        title="Silence of runs that hold a lock",
        help="A run gives a sign of life every ten seconds; after a minute another may take over from it.",
        queries={"{{model}} {{environment}}": f"max by (model, environment) (slipway_lock_silent_seconds{{{_PLACE}}})"},
        unit="s",
        limit=60,
        width=24,
    ),
)

_CANARIES = (
    Panel(
        title="Share of a canary",
        help="Percent of a model's requests that a candidate answers beside the one that serves.",
        queries={"{{model}} {{environment}}": f"max by (model, environment) (slipway_canary_weight{{{_PLACE}}})"},
        unit="percent",
        limit=100,
    ),
    Panel(
        title="Evidence of harm",
        help="The judge's e-value; from 20 on, where one canary in twenty may be stopped for nothing, it says harm and ends the canary.",
        queries={"{{model}} {{environment}}": f"max by (model, environment) (slipway_canary_harm_evidence{{{_PLACE}}})"},
        limit=20,
    ),
    Panel(
        title="Time in its step",
        help="How long it has had its phase, step and weight; an alert tells of one that is held for an hour.",
        queries={"{{model}} {{environment}} {{phase}}": f"max by (model, environment, phase) (slipway_canary_phase_seconds{{{_PLACE}}})"},
        unit="s",
        limit=3600,
    ),
    Panel(
        title="Since the judge's last look",
        help="It looks every few seconds at a canary that gets requests; an alert tells after ten minutes.",
        queries={"{{model}} {{environment}}": f"max by (model, environment) (slipway_canary_unwatched_seconds{{{_PLACE}}})"},
        unit="s",
        limit=600,
        width=24,
    ),
)

DEPLOYMENTS = Dashboard(
    uid="slipway-deployments",
    title="Slipway / Deployment status",
    help="For release managers and those on call: what serves, what is on its way, and how long it takes.",
    variables=(
        Variable(name="environment", query="label_values(slipway_model_status, environment)"),
        Variable(name="model", query='label_values(slipway_model_status{environment=~"$environment"}, model)'),
    ),
    rows={"Now": _NOW, "Releases": _RELEASES, "Canaries": _CANARIES, "Verification and health": _HEALTH},
)
