"""What the reference router tells of itself, by candidate and length of the prompt: names and labels are those of docs/router.md."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

Outcome = Literal["ok", "error", "refused", "aborted"]
Traffic = Literal["live", "shadow"]

#: Upper bounds in bytes of the request's body, and what the strata are called. Four bytes are about a token of English.
_STRATA = ((1 << 10, "<=1KiB"), (1 << 12, "<=4KiB"), (1 << 14, "<=16KiB"), (1 << 16, "<=64KiB"))
_LONGEST = ">64KiB"

#: A millisecond to 100 s, ten a decade: 26 % apart.
SECONDS = tuple(round(10 ** (step / 10 - 3), 6) for step in range(51))
#: To 100,000 tokens, five a decade.
TOKENS = tuple(sorted({round(10 ** (step / 5)) for step in range(26)}))

_LABELS = ["model", "environment", "candidate", "traffic", "prompt"]


def stratum(size_bytes: int) -> str:
    """By how long its body is, what a request is compared with."""
    return next((name for bound, name in _STRATA if size_bytes <= bound), _LONGEST)


class Series:
    """The series of one model, candidate, kind of traffic and length of prompts."""

    def __init__(self, metrics: RouterMetrics, labels: tuple[str, str, str, str, str]) -> None:
        self._metrics = metrics
        self._labels = labels
        self.first_token = metrics.first_token.labels(*labels).observe
        self.between_tokens = metrics.between_tokens.labels(*labels).observe

    def ended(self, outcome: Outcome, *, seconds: float, finish_reason: str | None = None, output_tokens: int | None = None) -> None:
        """Count a request that ended; how long it took, and how it ended, only of one that was answered."""
        self._metrics.requests.labels(*self._labels, outcome).inc()
        if outcome != "ok":
            return
        self._metrics.whole.labels(*self._labels).observe(seconds)
        if finish_reason is not None:
            self._metrics.finished.labels(*self._labels, finish_reason).inc()
        if output_tokens is not None:
            self._metrics.output.labels(*self._labels).observe(output_tokens)


class RouterMetrics:
    """One registry. Not emulated: that series of candidates that are long gone are forgotten."""

    def __init__(self, environment: str) -> None:
        self._environment = environment
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("slipway_router_requests", "Requests that ended.", [*_LABELS, "outcome"], registry=registry)
        self.finished = Counter("slipway_router_finishes", "Answers by why they ended.", [*_LABELS, "reason"], registry=registry)
        self.first_token = self._histogram("ttft_seconds", "Time to the first token of a stream.", SECONDS)
        self.between_tokens = self._histogram("itl_seconds", "Time between the chunks of tokens of a stream.", SECONDS)
        self.whole = self._histogram("e2e_seconds", "Time to the end of an answer.", SECONDS)
        self.output = self._histogram("output_tokens", "Tokens of an answer, where the engine tells them.", TOKENS)
        self.dropped = Counter(
            "slipway_router_copies_dropped", "Copies that were not sent: too many were under way.", ["model"], registry=registry
        )

    def series(self, model: str, candidate: str, traffic: Traffic, size_bytes: int) -> Series:
        """Where a request to that candidate is counted.

        Args:
            model: The name that clients send.
            candidate: The fingerprint.
            traffic: Whether the caller gets the answer.
            size_bytes: Of the request's body.
        """
        return Series(self, (model, self._environment, candidate, traffic, stratum(size_bytes)))

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"slipway_router_{name}", text, _LABELS, buckets=buckets, registry=self._registry)
