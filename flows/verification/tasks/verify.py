"""Measures whether the candidate answers as it should, and judges it. Nothing is retried until it passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from blocks.cluster import Cluster, ClusterClient
from blocks.endpoint import Endpoint, EndpointClient
from blocks.errors import EndpointRejected, PipelineError
from blocks.facts import Pod
from flows.record.phases import PodTimes, pod_times
from flows.runtime.tasks import unforeseen
from flows.spec import Candidate, CheckSuite, Environment
from flows.verification.behaviour import Behaviour, compare, incomparable, tolerance
from flows.verification.golden import Golden, Reference
from flows.verification.identity import check_health, check_models, check_pods, check_version, serving
from flows.verification.latency import LatencyLevel, check_latency, check_level, level
from flows.verification.measurement import Measurement
from flows.verification.power import Power, power
from flows.verification.regression import check_behaviour, check_golden
from flows.verification.stability import check_cache, check_counts, check_hang, check_restarts
from flows.verification.tasks.pods import PodWatch
from flows.verification.tasks.questions import Questions, Unanswered
from flows.verification.verdict import Verdict, judge, outcome_of


def measure(
    endpoint: Endpoint,
    cluster: Cluster,
    candidate: Candidate,
    environment: Environment,
    helm_release: str,
    address: str,
    suite: CheckSuite,
    reference: Reference,
) -> Verdict:
    """Judge whether the candidate answers at the address as it should. Reads only; a bad answer is a verdict, not an error.

    It ends in bounded time: each question has the endpoint block's time-out, the first one without an answer is the last one asked, and the
    load has the policy's budget.

    Raises:
        EndpointUnreachable: Nothing answers.
        ClusterUnreachable: The cluster did not answer.
    """
    with cluster.client() as pods, endpoint.client(address) as client:
        verification = _Verification(pods, endpoint, client, candidate, environment, helm_release)
        return verification.run(suite, reference)


@dataclass(kw_only=True)
class _Seen:
    """What was measured so far."""

    measurements: list[Measurement] = field(default_factory=list)
    engine_version: str = ""
    warmup_seconds: float | None = None
    latency: list[LatencyLevel] = field(default_factory=list)
    golden: Golden | None = None
    behaviour: Behaviour | None = None
    power: Power | None = None
    pods: Sequence[PodTimes] = ()

    @property
    def well(self) -> bool:
        return outcome_of(self.measurements) == "passed"

    def verdict(self) -> Verdict:
        return judge(
            self.measurements,
            engine_version=self.engine_version,
            warmup_seconds=self.warmup_seconds,
            latency=self.latency,
            golden=self.golden,
            behaviour=self.behaviour,
            power=self.power,
            pods=self.pods,
        )


class _Verification:
    def __init__(
        self,
        cluster: ClusterClient,
        endpoint: Endpoint,
        client: EndpointClient,
        candidate: Candidate,
        environment: Environment,
        helm_release: str,
    ) -> None:
        self._cluster = cluster
        self._endpoint = endpoint
        self._client = client
        self._candidate = candidate
        self._environment = environment
        self._helm_release = helm_release
        self._seen = _Seen()

    def run(self, suite: CheckSuite, reference: Reference) -> Verdict:
        seen, pods = self._seen, self._pods()
        seen.pods = pod_times(pods)
        seen.measurements += check_pods(pods, self._candidate)
        with PodWatch(self._endpoint, self._environment.namespace, pods) as watch:
            try:
                self._identity(watch, reference)
                if seen.well:  # what another model answers tells nothing of this one
                    self._answers(watch, pods, suite, reference)
            except EndpointRejected as exc:
                self._not_measured(exc)
            except PipelineError:
                raise
            # What strangers answer may end in an error that nobody foresaw: then it could not be measured, and is not to be routed.
            except Exception as exc:  # noqa: BLE001
                self._not_measured(unforeseen(exc, "Measuring"))
        return seen.verdict()

    def _not_measured(self, error: PipelineError) -> None:
        measured = Measurement(name="protocol", kind="identity", outcome="errored", expected="vLLM's HTTP", seen=error.message)
        self._seen.measurements.append(measured)

    def _pods(self) -> list[Pod]:
        return serving(self._cluster.pods.list(self._environment.namespace, {"app.kubernetes.io/instance": self._helm_release}))

    def _identity(self, watch: PodWatch, reference: Reference) -> None:
        seen = self._seen
        health = self._client.health()
        seen.measurements.append(check_health(health))
        # `/health` alone proves little: with its core stopped (SIGSTOP) vLLM goes on answering 200.
        if health is None:  # connected, and silent: asking on would only wait longer
            return
        seen.measurements.append(check_models({"the endpoint": self._client.models(), **watch.models()}, self._candidate))
        versions = watch.versions()
        seen.engine_version = ", ".join(sorted(set(versions)))
        seen.measurements.append(check_version(versions, reference.engine_version))

    def _answers(self, watch: PodWatch, pods: Sequence[Pod], suite: CheckSuite, reference: Reference) -> None:
        seen, policy = self._seen, self._environment
        questions = Questions(self._client, self._candidate)
        # Before the first request, since that may be the one at which the engine hangs.
        before = watch.tokens()
        try:
            # vLLM compiles at its first requests (28 s on two CPU cores for the first one): what they take tells nothing.
            seen.warmup_seconds = questions.warm_up(policy.latency)
            for measurement in questions.checks(suite):  # one by one: what was measured before an unanswered question stays
                seen.measurements.append(measurement)
            if not seen.well:
                return
            # After the checks: of an engine that answers wrongly there is nothing to compare.
            seen.warmup_seconds += questions.warm_up_detail()
            asked_before = [answer.probe for answer in reference.golden.probes] if reference.golden is not None else []
            seen.golden = questions.golden(suite, policy.behaviour.runs, asked_before)
        except Unanswered as exc:
            seen.measurements.append(check_hang(self._client.health(), before, watch.tokens(), exc.seconds))
            return
        seen.behaviour = compare(seen.golden, reference, self._candidate.commit)
        seen.power = power(seen.golden, tolerance(seen.golden.noise, reference.golden.noise if reference.golden is not None else None))
        seen.measurements.append(check_golden(seen.golden))
        why = incomparable(seen.golden, reference)
        seen.measurements.append(check_behaviour(seen.behaviour, policy.behaviour, why))
        if seen.well:
            self._load(watch, pods, questions)

    def _load(self, watch: PodWatch, pods: Sequence[Pod], questions: Questions) -> None:
        seen, policy = self._seen, self._environment
        before = watch.metrics()
        with watch.looking():
            for concurrency in policy.latency.concurrency:
                # The limits are for the first concurrency alone.
                judged = not seen.latency
                measured = level(questions.loads(policy.latency, concurrency, judged=judged))
                seen.latency.append(measured)
                seen.measurements += check_latency(measured, policy.latency) if judged else [check_level(measured, policy.latency.samples)]
                if measured.bad:
                    break
        # The engines' own counters are compared with what was sent, bad answers included.
        requests = sum(len(measured.samples_seconds) + measured.bad for measured in seen.latency)
        seen.measurements += check_counts(before, watch.metrics(), requests, policy.stability)
        seen.measurements.append(check_cache(watch.peak_kv_cache_usage, policy.stability, watch.unreadable))
        seen.measurements.append(check_restarts(pods, self._pods()))
