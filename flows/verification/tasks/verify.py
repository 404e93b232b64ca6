"""Measures whether the candidate answers as it should, and judges it. Nothing is retried until it passes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from blocks.cluster import Cluster, ClusterClient
from blocks.endpoint import Endpoint, EndpointClient
from blocks.errors import EndpointRejected, EndpointUnreachable, PipelineError, Transient
from blocks.facts import Pod
from blocks.facts.cluster import INSTANCE
from flows.record.phases import PodTimes, pod_times
from flows.rollout.containers import container_finding
from flows.rollout.diagnosis import REMEDIES
from flows.runtime.endpoints import keyed
from flows.runtime.tasks import looks, unforeseen
from flows.spec import Candidate, CheckSuite, Environment
from flows.verification.attempts import Attempts, check_attempts
from flows.verification.behaviour import Behaviour, compare, incomparable, tolerance
from flows.verification.golden import Golden, Reference
from flows.verification.identity import check_containers, check_health, check_models, check_pods, check_version, serving
from flows.verification.latency import LatencyLevel, check_latency, check_level, level
from flows.verification.measurement import Measurement
from flows.verification.power import Power, power
from flows.verification.regression import check_behaviour, check_golden
from flows.verification.stability import check_cache, check_counts, check_hang, check_restarts
from flows.verification.tasks.pods import PodWatch
from flows.verification.tasks.questions import Questions, Unanswered
from flows.verification.verdict import Verdict, judge, outcome_of

#: How long an engine that may have died is looked for in its pod's status, and how often, in seconds.
CRASH_SECONDS = 5.0
LOOK_SECONDS = 0.5


def measure(
    endpoint: Endpoint,
    cluster: Cluster,
    candidate: Candidate,
    environment: Environment,
    engine: str,
    address: str,
    suite: CheckSuite,
    reference: Reference,
    attempts: Attempts,
    known: Sequence[Measurement] = (),
) -> Verdict:
    """Judge whether the candidate answers at the address as it should. Reads only; a bad answer is a verdict, not an error.

    It ends in bounded time: each question has the endpoint block's time-out, the first one without an answer is the last one asked, and the
    load has the policy's budget. A pod that restarted, ended or was replaced since the rollout is a verdict, whenever that happened and
    however well it answers now.

    Args:
        endpoint: How it is reached.
        cluster: Where its pods are.
        candidate: What should answer.
        environment: By whose limits.
        engine: Its Kubernetes Deployment, which is the instance label of its pods.
        address: Its endpoint.
        suite: What is asked.
        reference: What the registry knows from before.
        attempts: The attempts at this verdict; the one that ends in an error is noted there.
        known: What was measured before.

    Raises:
        EndpointUnreachable: Nothing answers, and no pod is known to have ended.
        ClusterUnreachable: The cluster did not answer.
    """
    with cluster.client() as pods:
        way = keyed(endpoint, pods, environment)
        with way.client(address) as client:
            verification = _Verification(pods, way, client, candidate, environment, engine, attempts)
            try:
                return verification.run(suite, reference, known)
            except Transient as exc:
                attempts.ended.append(exc.message)
                raise


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
        engine: str,
        attempts: Attempts,
    ) -> None:
        self._cluster = cluster
        self._endpoint = endpoint
        self._client = client
        self._candidate = candidate
        self._environment = environment
        self._engine = engine
        self._attempts = attempts
        self._seen = _Seen()
        #: Whether something came, or did not, as it would of an engine that just died.
        self._troubled = False

    def run(self, suite: CheckSuite, reference: Reference, known: Sequence[Measurement]) -> Verdict:
        seen, pods = self._seen, serving(self._pods())
        self._attempts.begin(pods)
        seen.pods = pod_times(pods)
        seen.measurements += [*check_attempts(self._attempts), *check_pods(pods, self._candidate)]
        seen.measurements += [check_containers(pods, self._environment.injected), *known]
        # What has died since the rollout is not asked how it is now.
        if self._restarted(patience_seconds=0.0):
            return seen.verdict()
        try:
            self._ask(pods, suite, reference)
        except EndpointUnreachable:
            # At the very first question nothing is known to have answered: the way there may be to blame as well.
            if not self._restarted(CRASH_SECONDS if seen.engine_version else 0.0):
                raise
            return seen.verdict()
        if not self._restarted(CRASH_SECONDS if self._troubled else 0.0):
            seen.measurements.append(check_restarts(self._attempts.pods, self._attempts.pods))
        return seen.verdict()

    def _ask(self, pods: Sequence[Pod], suite: CheckSuite, reference: Reference) -> None:
        seen = self._seen
        with PodWatch(self._endpoint, self._environment.namespace, pods) as watch:
            try:
                self._identity(watch, reference)
                if seen.well:  # what another model answers tells nothing of this one
                    self._answers(watch, suite, reference)
            except EndpointRejected as exc:
                self._not_measured(exc)
            except PipelineError:
                raise
            # What strangers answer may end in an error that nobody foresaw: then it could not be measured, and is not to be routed.
            except Exception as exc:  # noqa: BLE001
                self._not_measured(unforeseen(exc, "Measuring"))

    def _not_measured(self, error: PipelineError) -> None:
        # A connection that broke in the middle of an answer may have been cut by the engine's end.
        self._troubled = True
        measured = Measurement(name="protocol", kind="identity", outcome="errored", expected="vLLM's HTTP", seen=error.message)
        self._seen.measurements.append(measured)

    def _pods(self) -> list[Pod]:
        return list(self._cluster.pods.list(self._environment.namespace, {INSTANCE: self._engine}))

    def _restarted(self, patience_seconds: float) -> bool:
        """Whether a pod restarted, ended or was replaced since the rollout; it is noted with its diagnosis.

        Args:
            patience_seconds: How long to go on looking: the kubelet takes a moment to tell of an engine that died.
        """
        known = {pod.name for pod in self._attempts.pods}
        for _ in looks(patience_seconds, time.sleep, LOOK_SECONDS):
            pods = [pod for pod in self._pods() if pod.name in known or (pod.ready and not pod.terminating)]
            if check_restarts(self._attempts.pods, pods).outcome == "passed":
                continue
            why = {pod.name: words for pod in pods if (words := self._why(pod))}
            self._seen.measurements.append(check_restarts(self._attempts.pods, pods, why))
            return True
        return False

    def _why(self, pod: Pod) -> str:
        finding = container_finding(self._cluster.pods.trouble(self._environment.namespace, pod))
        return f"{finding.category}: {finding.message}; {REMEDIES[finding.category]}" if finding is not None else ""

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

    def _answers(self, watch: PodWatch, suite: CheckSuite, reference: Reference) -> None:
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
            self._troubled = True
            seen.measurements.append(check_hang(self._client.health(), before, watch.tokens(), exc.seconds))
            return
        finally:
            self._troubled = self._troubled or questions.troubled
        seen.behaviour = compare(seen.golden, reference, self._candidate.commit)
        seen.power = power(seen.golden, tolerance(seen.golden.noise, reference.golden.noise if reference.golden is not None else None))
        seen.measurements.append(check_golden(seen.golden))
        why = incomparable(seen.golden, reference)
        seen.measurements.append(check_behaviour(seen.behaviour, policy.behaviour, why))
        if seen.well:
            self._load(watch, questions)

    def _load(self, watch: PodWatch, questions: Questions) -> None:
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
                    self._troubled = True
                    break
        # The engines' own counters are compared with what was sent, bad answers included.
        requests = sum(len(measured.samples_seconds) + measured.bad for measured in seen.latency)
        seen.measurements += check_counts(before, watch.metrics(), requests, policy.stability)
        seen.measurements.append(check_cache(watch.peak_kv_cache_usage, policy.stability, watch.unreadable))
