"""The engine's Prometheus metrics, under vLLM's names and with true counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# vLLM 0.32.0's own boundaries: what alerts and dashboards can tell apart depends on them. End-to-end times begin at 0.3 s.
_SMALL = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1)
_FIRST_TOKEN = (*_SMALL, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0)
_BETWEEN_TOKENS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_LONG = (10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0)
_REQUEST = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, *_LONG)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
_REJECTION_REASONS = ("max_num_queued_reqs", "max_num_queued_tokens")
FINISHED_REASONS = ("stop", "length", "abort", "error", "repetition")


class Metrics:
    """One registry; every series of the engine carries `engine="0"` and the served name.

    `prefix_cache_hits`, `num_preemptions` and `admission_rejections` stay zero: the stand-in does none of that.
    """

    def __init__(self, model_name: str) -> None:
        self._registry = CollectorRegistry()
        self._labels = {"engine": "0", "model_name": model_name}
        self.running = self._gauge("num_requests_running", "Requests in execution.")
        self.waiting = self._gauge("num_requests_waiting", "Requests that wait for a place.")
        self.kv_cache_usage = self._gauge("kv_cache_usage_perc", "Share of the KV cache in use, 0 to 1.")
        self._gauge("engine_sleep_state", "Always 0: awake.")
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens read.")
        self.generation_tokens = self._counter("generation_tokens", "Tokens generated.")
        self.prefix_cache_queries = self._counter("prefix_cache_queries", "Prompt tokens looked up.")
        for name in ("prefix_cache_hits", "num_preemptions"):
            self._counter(name, "Always 0 in the stand-in.")
        # The API server counts these, not an engine: vLLM's have no label `engine`.
        rejections = Counter("vllm:admission_rejections", "Always 0 in the stand-in.", ["model_name", "reason"], registry=self._registry)
        for reason in _REJECTION_REASONS:
            rejections.labels(model_name, reason)
        self.time_to_first_token = self._histogram("time_to_first_token_seconds", _FIRST_TOKEN)
        self.inter_token_latency = self._histogram("inter_token_latency_seconds", _BETWEEN_TOKENS)
        self.time_per_output_token = self._histogram("request_time_per_output_token_seconds", _BETWEEN_TOKENS)
        self.e2e_latency = self._histogram("e2e_request_latency_seconds", _REQUEST)
        self.queue_time = self._histogram("request_queue_time_seconds", _REQUEST)
        self.prefill_time = self._histogram("request_prefill_time_seconds", _REQUEST)
        self.decode_time = self._histogram("request_decode_time_seconds", _REQUEST)
        self.request_prompt_tokens = self._histogram("request_prompt_tokens", _TOKENS)
        self.request_generation_tokens = self._histogram("request_generation_tokens", _TOKENS)
        success = Counter(
            "vllm:request_success",
            "Requests by how they ended.",
            [*self._labels, "finished_reason"],
            registry=self._registry,
        )
        self.finished = {reason: success.labels(**self._labels, finished_reason=reason) for reason in FINISHED_REASONS}

    def render(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"vllm:{name}", text, list(self._labels), registry=self._registry).labels(**self._labels)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"vllm:{name}", text, list(self._labels), registry=self._registry).labels(**self._labels)

    def _histogram(self, name: str, buckets: tuple[float, ...]) -> Histogram:
        text = "Seconds." if name.endswith("_seconds") else "Tokens of a request."
        return Histogram(f"vllm:{name}", text, list(self._labels), buckets=buckets, registry=self._registry).labels(**self._labels)
