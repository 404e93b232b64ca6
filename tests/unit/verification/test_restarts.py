"""An engine that restarts at any moment between the rollout and the verdict fails it, however well everything was answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.errors import ClusterUnreachable, EndpointUnreachable
from blocks.facts import Answer, EngineMetrics, Load, Pod, Position, Sample, ServedModel
from flows.spec import CheckSuite, LatencyPolicy
from flows.spec.checks import CompletionCheck
from flows.verification.attempts import Attempts
from flows.verification.golden import Reference
from flows.verification.identity import FINGERPRINT, LABEL, serving
from flows.verification.tasks.verify import measure
from flows.verification.verdict import Verdict
from flows.weights.prefetch import served_path
from tests.support.examples import candidate, environment, pod, trouble

RELEASED = candidate()
SUITE = CheckSuite(
    name="short",
    checks=(CompletionCheck(name="capital", kind="completion", prompt="The capital of France is", max_tokens=4),),
    golden=(CompletionCheck(name="golden", kind="completion", prompt="Two plus two equals", max_tokens=4),),
)
SAID = (Position(token="5", top={"5": -0.1, "6": -2.5}),)
ANSWER = Answer(
    status=200,
    seconds=0.01,
    text=" Paris",
    finish_reason="stop",
    prompt_tokens=6,
    completion_tokens=1,
    total_tokens=7,
    tokens=("5",),
    logprobs=(-0.1,),
    said=SAID,
    read=SAID,
)


@dataclass
class Site:
    """A pod, and an engine in it that answers all as it should; something may happen to it at one of the questions.

    Attributes:
        at: Before which question it happens, counted from 0; none if it never does.
        breaks: Whether the question itself breaks off with it.
    """

    at: int | None = None
    breaks: bool = False
    asked: int = 0
    pods_listed: list[Pod] = field(
        default_factory=lambda: [
            pod(
                RELEASED.label,
                labels={LABEL: RELEASED.label},
                annotations={FINGERPRINT: RELEASED.fingerprint},
                image=RELEASED.image,
                address="127.0.0.2",
            )
        ]
    )

    def happens(self) -> None:
        """The engine ends and is there again at once."""
        self.pods_listed = [replace(one, restarts=one.restarts + 1) for one in self.pods_listed]

    def asks(self) -> None:
        number, self.asked = self.asked, self.asked + 1
        if number == self.at:
            self.happens()
            if self.breaks:
                raise EndpointUnreachable("tiny-llama did not answer (RemoteProtocolError).")

    def verify(self, attempts: Attempts) -> Verdict:
        latency = LatencyPolicy(samples=20, max_samples=20, concurrency=(1,))
        where = (environment(latency=latency), "tiny-llama-staging", "tiny:8000")
        return measure(Endpoint(self), Cluster(self), RELEASED, *where, SUITE, Reference(), attempts)  # type: ignore[arg-type]


class Endpoint:
    """The endpoint block of a site, and its client: every call of it is a question."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @contextmanager
    def client(self, address: str) -> Iterator[Endpoint]:
        yield self

    @contextmanager
    def pod_client(self, *where: object) -> Iterator[Endpoint]:
        yield self

    def health(self) -> int:
        self._site.asks()
        return 200

    def models(self) -> Sequence[ServedModel]:
        self._site.asks()
        return (ServedModel(name=RELEASED.model, root=served_path(RELEASED), max_model_len=RELEASED.engine.max_model_len),)

    def version(self) -> str:
        self._site.asks()
        return "0.32.0"

    def metrics(self) -> EngineMetrics:
        self._site.asks()
        return EngineMetrics(generated_tokens=1, errors=0, preemptions=0, kv_cache_usage=0.1)

    def tokenize(self, model: str, text: str, *, special: bool = True) -> tuple[int, ...]:
        self._site.asks()
        return (1, 2, 3)

    def ask(self, path: str, body: Mapping[str, Any], *, patience: float = 1.0) -> Answer:
        self._site.asks()
        return ANSWER

    def load(self, path: str, bodies: Sequence[object], *, concurrency: int, budget_seconds: float) -> Load:
        self._site.asks()
        sample = Sample(status=200, seconds=0.01, first_seconds=0.005, tokens=8)
        return Load(samples=(sample,) * len(bodies), seconds=0.01 * len(bodies), concurrency=concurrency)


class Cluster:
    """The cluster block of a site, and its client."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @contextmanager
    def client(self) -> Iterator[Any]:
        yield SimpleNamespace(pods=self)

    def list(self, namespace: str, labels: Mapping[str, str]) -> list[Pod]:
        return self._site.pods_listed

    def trouble(self, namespace: str, one: Pod) -> object:
        return trouble(one)


def rolled_out(site: Site) -> Attempts:
    attempts = Attempts()
    attempts.begin(serving(site.pods_listed))
    return attempts


def questions() -> int:
    """How many questions a verification asks where nothing happens."""
    site = Site()
    verdict = site.verify(rolled_out(site))
    assert verdict.outcome == "passed", verdict.message
    return site.asked


@pytest.mark.parametrize("breaks", [False, True], ids=["it answers on", "the question breaks off"])
def test_a_restart_at_any_question_fails(breaks: bool) -> None:
    many = questions()
    assert many > 30, "identity, warm-up, the check, golden prompts, probes, the load, counts"
    for at in range(many):
        site = Site(at=at, breaks=breaks)
        attempts = rolled_out(site)

        verdict = site.verify(attempts)

        assert verdict.outcome == "failed", f"at question {at} of {many}: {verdict.message}"
        assert verdict.message.split("; ")[1].startswith("restarts: expected the same pods without a restart"), verdict.message
        # and whoever asks once more is told the same
        assert Site(pods_listed=site.pods_listed).verify(attempts).outcome == "failed"


def test_a_restart_before_the_first_question_and_between_two_attempts_fails() -> None:
    site = Site()
    attempts = rolled_out(site)
    site.happens()

    assert site.verify(attempts).outcome == "failed"
    assert site.asked == 0, "what has died since is asked nothing"


@pytest.mark.parametrize("error", [EndpointUnreachable("It did not answer."), ClusterUnreachable("The API server did not answer.")])
def test_what_ended_an_attempt_is_told_and_its_pods_are_the_next_ones_too(error: EndpointUnreachable | ClusterUnreachable) -> None:
    site = Site()
    attempts = rolled_out(site)

    class Gone(Cluster):
        def list(self, namespace: str, labels: Mapping[str, str]) -> list[Pod]:
            raise error

    where = (environment(), "tiny-llama-staging", "tiny:8000")
    with pytest.raises(type(error)):
        measure(Endpoint(site), Gone(site), RELEASED, *where, SUITE, Reference(), attempts)  # type: ignore[arg-type]
    site.happens()
    verdict = site.verify(attempts)

    assert verdict.outcome == "failed"
    (told,) = [measured.seen for measured in verdict.measurements if measured.name == "attempts"]
    assert told == f"1 attempt(s) before this one came to no verdict: {error.message}"
