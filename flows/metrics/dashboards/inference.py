"""How the engines answer: against the targets first, then what explains it."""

from __future__ import annotations

from flows.metrics.dashboards.panels import Dashboard, Panel, Variable

#: Targets for half and for 95 of 100 requests, in seconds; an environment's file may say others for verification.
P50_SECONDS = 0.1
P95_SECONDS = 0.3

#: Shares that may miss them, and that may fail.
SLOW_BUDGET = 0.05
ERROR_BUDGET = 0.001

_WHICH = 'environment=~"$environment", model_name=~"$model"'
_NAMED = "{{model_name}} {{environment}}"


# Grafana's `$__rate_interval` spans four scrapes at least, so that `rate` has two samples however far one zooms in.
def _p95(metric: str) -> str:
    return f"histogram_quantile(0.95, sum by (environment, model_name, le) (rate({metric}_bucket{{{_WHICH}}}[$__rate_interval])))"


def _rate(metric: str, by: str = "environment, model_name", more: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{_WHICH}{more}}}[$__rate_interval]))"


_OBJECTIVES = (
    Panel(
        title="First token, median",
        help="Half of the requests get their first token within 100 ms.",
        queries={_NAMED: f"environment_model:vllm_ttft_seconds:p50_rate5m{{{_WHICH}}}"},
        unit="s",
        limit=P50_SECONDS,
        width=6,
    ),
    Panel(
        title="First token, P95",
        help="95 of 100 requests get their first token within 300 ms.",
        queries={_NAMED: f"environment_model:vllm_ttft_seconds:p95_rate5m{{{_WHICH}}}"},
        unit="s",
        limit=P95_SECONDS,
        width=6,
    ),
    Panel(
        title="End to end",
        help="To the last token, so it grows with the answers. vLLM's buckets begin at 300 ms: below that the lines are no measurement.",
        queries={
            f"P50 {_NAMED}": f"environment_model:vllm_e2e_latency_seconds:p50_rate5m{{{_WHICH}}}",
            f"P95 {_NAMED}": f"environment_model:vllm_e2e_latency_seconds:p95_rate5m{{{_WHICH}}}",
        },
        unit="s",
        width=6,
    ),
    Panel(
        title="Burn rate",
        help="How many times faster than allowed the month's budget is used up, over the last hour. Alerts begin at 14.4.",
        queries={
            f"latency {_NAMED}": f"environment_model:vllm_ttft_over_300ms:ratio_rate1h{{{_WHICH}}} / {SLOW_BUDGET}",
            f"errors {_NAMED}": f"environment_model:vllm_errors:ratio_rate1h{{{_WHICH}}} / {ERROR_BUDGET}",
        },
        limit=14.4,
        width=6,
    ),
)

_TRAFFIC = (
    Panel(
        title="Requests",
        help="A second, by how they ended. `abort` is a client that went away.",
        queries={"{{finished_reason}}": _rate("vllm:request_success_total", "finished_reason")},
        unit="reqps",
        stacked=True,
        width=6,
    ),
    Panel(
        title="Errors and refusals",
        help="Their share of all requests, over five minutes.",
        queries={_NAMED: f"environment_model:vllm_errors:ratio_rate5m{{{_WHICH}}}"},
        unit="percentunit",
        limit=ERROR_BUDGET,
        width=6,
    ),
    Panel(
        title="Tokens",
        help="A second: read from prompts, and generated.",
        queries={
            f"prompt {_NAMED}": _rate("vllm:prompt_tokens_total"),
            f"generated {_NAMED}": _rate("vllm:generation_tokens_total"),
        },
        width=6,
    ),
    Panel(
        title="Running and waiting",
        help="Requests in the batch, and those that wait for a place in it.",
        queries={
            f"running {_NAMED}": f"sum by (environment, model_name) (vllm:num_requests_running{{{_WHICH}}})",
            f"waiting {_NAMED}": f"sum by (environment, model_name) (vllm:num_requests_waiting{{{_WHICH}}})",
        },
        width=6,
    ),
)

_ENGINES = (
    Panel(
        title="KV cache",
        help="Share in use, each pod. Full and with requests waiting means preemptions and latency.",
        queries={"{{pod}}": f"max by (pod) (vllm:kv_cache_usage_perc{{{_WHICH}}})"},
        unit="percentunit",
        limit=0.95,
        width=6,
    ),
    Panel(
        title="Preemptions and refusals",
        help="A second: requests that lost their place in the KV cache, and those that were refused as too many.",
        queries={
            f"preempted {_NAMED}": _rate("vllm:num_preemptions_total"),
            f"refused {_NAMED}": _rate("vllm:admission_rejections_total"),
        },
        width=6,
    ),
    Panel(
        title="Prefix cache",
        help="Share of the prompts' tokens that were found in the cache.",
        queries={_NAMED: f"{_rate('vllm:prefix_cache_hits_total')} / {_rate('vllm:prefix_cache_queries_total')}"},
        unit="percentunit",
        width=6,
    ),
    Panel(
        title="Restarts",
        help="Of the engine's container, an hour (from kube-state-metrics).",
        queries={"{{pod}}": 'sum by (namespace, pod) (increase(kube_pod_container_status_restarts_total{container="vllm"}[1h]))'},
        limit=2,
        width=6,
    ),
    Panel(
        title="Between tokens, P95",
        help="What a reader sees of a stream's pace.",
        queries={_NAMED: _p95("vllm:inter_token_latency_seconds")},
        unit="s",
        width=6,
    ),
    Panel(
        title="Queue, P95",
        help="Time until a request had a place. vLLM's buckets begin at 300 ms.",
        queries={_NAMED: _p95("vllm:request_queue_time_seconds")},
        unit="s",
        width=6,
    ),
    Panel(
        title="Prefill and decode, P95",
        help="Reading the prompt, and writing the answer. vLLM's buckets begin at 300 ms.",
        queries={
            f"prefill {_NAMED}": _p95("vllm:request_prefill_time_seconds"),
            f"decode {_NAMED}": _p95("vllm:request_decode_time_seconds"),
        },
        unit="s",
        width=6,
    ),
    Panel(
        title="First token by candidate, P95",
        help="Whether a release changed it: each candidate is a line, by the first characters of its fingerprint.",
        queries={
            "{{candidate}}": "histogram_quantile(0.95, sum by (candidate, le) (label_replace("
            f'rate(vllm:time_to_first_token_seconds_bucket{{{_WHICH}}}[$__rate_interval]), "candidate", "$1", "candidate", "(.{{12}}).*")))'
        },
        unit="s",
        limit=P95_SECONDS,
        width=6,
    ),
)

INFERENCE = Dashboard(
    uid="slipway-inference",
    title="Slipway / Inference performance",
    help="For those who run the models: latency and errors against their targets, and the engines behind them.",
    variables=(
        Variable(name="environment", query="label_values(vllm:num_requests_running, environment)"),
        Variable(name="model", query='label_values(vllm:num_requests_running{environment=~"$environment"}, model_name)'),
    ),
    rows={"Objectives": _OBJECTIVES, "Traffic": _TRAFFIC, "Engines": _ENGINES},
)
