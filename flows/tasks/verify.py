"""Asks the endpoint what the checks ask, and judges the answers."""

from __future__ import annotations

from prefect import task

from blocks.cluster import Cluster
from blocks.endpoint import Endpoint, EndpointClient
from blocks.errors import EndpointRejected
from blocks.facts import Answer
from flows.plan.verdict import Measurement, Verdict, check_answer, check_health, check_identity, check_latency, check_pods, judge
from flows.spec import Candidate, Check, CheckSuite, Environment, LatencyPolicy
from flows.tasks.policy import OBSERVES, WRITES


def _verify(
    endpoint: Endpoint, cluster: Cluster, candidate: Candidate, environment: Environment, helm_release: str, address: str, suite: CheckSuite
) -> Verdict:
    """Judge whether the candidate answers at the address as it should. Reads only; a bad answer is a verdict, not an error.

    Raises:
        EndpointUnreachable: Nothing answers; retried.
        ClusterUnreachable: The cluster did not answer; retried.
    """
    with cluster.client() as client:
        pods = client.pods(environment.namespace, {"app.kubernetes.io/instance": helm_release})
    serving = [pod.labels.get("slipway.dev/candidate") for pod in pods if pod.ready and not pod.terminating]
    measurements = [check_pods(serving, candidate)]
    answers: list[Answer] = []
    with endpoint.client(address) as client_:
        measurements.append(check_health(client_.health()))
        try:
            measurements.append(check_identity(client_.models(), candidate))
            measurements += [check_answer(check, _ask(client_, candidate.model, check)) for check in suite.checks]
            if all(measurement.outcome == "passed" for measurement in measurements):
                answers = _latencies(client_, candidate.model, environment.latency)
                measurements += check_latency(answers, environment.latency)
        except EndpointRejected as exc:
            measurements.append(Measurement(name="protocol", outcome="errored", expected="vLLM's HTTP", seen=exc.message))
    return judge(measurements, [answer.seconds for answer in answers if answer.status == 200])


#: A release's verification: a resumed run does not repeat it.
verify = task(name="verify", task_run_name="verify {environment.name}", **WRITES)(_verify)

#: The nightly run's: always measured anew.
revalidate = task(name="revalidate", task_run_name="verify {helm_release}", **OBSERVES)(_verify)


def _ask(client: EndpointClient, model: str, check: Check) -> Answer:
    ask = client.chat if check.kind == "chat" else client.complete
    return ask(model, check.prompt, check.max_tokens)


def _latencies(client: EndpointClient, model: str, policy: LatencyPolicy) -> list[Answer]:
    for _ in range(policy.warmup):
        client.complete(model, policy.prompt, policy.max_tokens)
    return [client.complete(model, policy.prompt, policy.max_tokens) for _ in range(policy.samples)]
