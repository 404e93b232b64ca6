"""Each fault that an engine can play gets the verdict that it deserves, through the real endpoint, cluster and load."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import resource
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.client import CoreV1Api
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from blocks.endpoint import Endpoint
from blocks.errors import ClusterRejected, EndpointRejected, EndpointUnreachable
from flows.runtime.tasks import looks
from flows.spec import LatencyPolicy, StabilityPolicy
from flows.verification.attempts import Attempts
from flows.verification.golden import Reference
from flows.verification.verdict import Verdict
from sandbox.serving import HttpServer, LoopThread
from tests.support.waiting import HANGS_SECONDS
from tests.verification.conftest import FULL, Served, wrong


def test_a_good_model_passes_every_kind_of_check(served: Served) -> None:
    verdict = served.verify(FULL)

    assert wrong(verdict) == {}
    assert verdict.outcome == "passed"
    kinds = {measurement.kind for measurement in verdict.measurements}
    assert kinds >= {"completion", "chat", "streaming", "json", "tool-call", "stop", "long-context", "unknown-model", "over-long"}
    assert kinds >= {"identity", "latency", "behaviour", "stability"}
    assert verdict.engine_version == "0.32.0+sandbox"
    assert [level.concurrency for level in verdict.latency] == [1, 4]
    first = verdict.latency[0]
    assert first.end_to_end is not None
    assert first.first_token is not None
    assert first.inter_token is not None
    assert first.first_token.p50.value < first.end_to_end.p50.value
    # eight tokens have seven gaps, but a token without text makes no event
    assert 5 * len(first.samples_seconds) < first.inter_token.count <= 7 * len(first.samples_seconds)
    assert verdict.golden is not None
    assert (verdict.golden.exact_share, verdict.golden.noise_nats) == (1.0, 0.0)
    assert [pod.name for pod in verdict.pods] == ["tiny-llama-staging-0"]


def test_inside_the_cluster_service_and_pods_are_reached_by_address(served: Served) -> None:
    with served.cluster.client() as cluster:
        (pod,) = cluster.pods.list(served.namespace, {})

    verdict = served.verify(endpoint=Endpoint(via="dns"), address=f"{pod.address}:8000")

    assert wrong(verdict) == {}


@pytest.mark.parametrize(
    ("faults", "check", "seen"),
    [
        ({"hang": True}, "progress", "/health answers HTTP 200, and not one token was generated in 3 s: the engine hangs"),
        ({"token_latency_seconds": 1.0}, "progress", "it is slow"),
        ({"latency_seconds": 0.15}, "latency-p50", "ms (95 % interval"),
        ({"error_status": 500}, "capital-of-france", "HTTP 500: EngineCore encountered an issue"),
        ({"error_status": 503, "error_share": 0.2}, "", "HTTP 503"),
        ({"garbage": True}, "capital-of-france", "token(s)"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_a_fault_of_the_engine_fails(served: Served, faults: dict[str, Any], check: str, seen: str) -> None:
    served.faults(**faults)

    verdict = served.verify(timeout_seconds=3.0 if check == "progress" else 20.0)

    assert verdict.outcome == "failed"
    # every fifth request fails: which check's that is depends on what was asked before
    assert seen in (wrong(verdict).get(check, "") if check else " ".join(wrong(verdict).values())), wrong(verdict)
    if check == "progress":
        assert {measurement.kind for measurement in verdict.measurements} == {"identity", "stability"}, "a silent engine is asked once"


def test_one_bad_answer_in_fifty_is_enough(served: Served) -> None:
    served.faults(error_status=500, error_share=0.02)

    verdict = served.verify()

    assert verdict.outcome == "failed"
    assert "HTTP 500: EngineCore encountered an issue" in " ".join(wrong(verdict).values())
    # the engine's own count tells of it too, where it came under load
    assert ("engine-errors" in wrong(verdict)) == bool({"latency", "load-4"} & wrong(verdict).keys())


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"commit": "f" * 40}, "identity"),
        ({"image": "slipway-sandbox/vllm-openai@sha256:" + "0" * 64}, "pod-image"),
    ],
    ids=["commit", "image"],
)
def test_a_healthy_endpoint_that_serves_something_else_fails_and_is_asked_nothing(
    served: Served, changes: dict[str, Any], check: str
) -> None:
    verdict = served.verify(**changes)

    assert verdict.outcome == "failed"
    assert {check, "pods", "pod-fingerprint"} <= wrong(verdict).keys()
    assert {measurement.kind for measurement in verdict.measurements} == {"identity", "stability"}


def test_another_version_than_the_image_showed_before_fails(served: Served) -> None:
    assert wrong(served.verify(reference=Reference(engine_version="0.31.0"))) == {"engine-version": "0.32.0+sandbox"}


def test_what_the_policy_does_not_allow_fails(served: Served) -> None:
    verdict = served.verify(
        latency=LatencyPolicy(p50_seconds=1e-6, p95_seconds=1e-6, samples=20, concurrency=(1,)),
        stability=StabilityPolicy(max_kv_cache_usage=1e-9),
    )

    assert verdict.outcome == "failed"
    assert {"latency-p50", "latency-p95"} <= wrong(verdict).keys()


def test_the_same_commit_agrees_with_itself_and_is_told_from_what_differs(served: Served) -> None:
    before = served.verify()
    assert before.golden is not None
    reference = Reference(fingerprint="e" * 64, commit=served.candidate.commit, golden=before.golden)

    again = served.verify(reference=reference)

    assert again.outcome == "passed"
    assert again.behaviour is not None
    assert (again.behaviour.exact_share, again.behaviour.max_nats) == (1.0, 0.0)


def as_the_task_does(served: Served, attempts: Attempts) -> Verdict:
    """A verdict: tried again where nothing answered, since whether a question meets the engine's end is a matter of moments."""
    for _ in looks(30, time.sleep, 0.2):
        with contextlib.suppress(EndpointUnreachable):
            return served.verify(attempts=attempts)
    return served.verify(attempts=attempts)


def test_an_engine_that_dies_between_questions_fails_however_well_it_answers_afterwards(served: Served) -> None:
    attempts = Attempts()
    assert served.verify(attempts=attempts).outcome == "passed"

    # killed while it is asked: what was asked last breaks off, and the pod is started again
    served.faults(token_latency_seconds=0.02, exit_after_seconds=0.0)
    died = as_the_task_does(served, attempts)
    served.world.engine_faults.clear()
    served.wait()
    again = as_the_task_does(served, attempts)

    for verdict in (died, again):
        assert verdict.outcome == "failed"
        assert "crash-loop" in wrong(verdict)["restarts"]
        assert "restarts: expected the same pods without a restart" in verdict.message
    assert "restarted" in wrong(again)["restarts"]
    assert {measurement.kind for measurement in again.measurements} == {"identity", "stability"}, "what has died is asked nothing"


def test_an_attempt_that_came_to_no_verdict_is_told_in_the_next_ones_evidence(served: Served) -> None:
    attempts = Attempts()
    with pytest.raises(EndpointUnreachable):
        served.verify(endpoint=Endpoint(via="dns"), address="127.0.0.1:9", attempts=attempts)

    verdict = served.verify(attempts=attempts)

    assert verdict.outcome == "passed"
    (told,) = [measurement.seen for measurement in verdict.measurements if measurement.name == "attempts"]
    assert "127.0.0.1:9 did not answer /health" in told


def test_an_engine_that_asks_for_a_key_is_asked_with_the_one_of_the_environments_secret(served: Served, loop: LoopThread) -> None:
    asked: list[str] = []

    async def guarded(request: Request) -> Response:
        asked.append(request.headers.get("authorization", ""))
        return JSONResponse({"error": "Unauthorized"}, status_code=401) if request.url.path.startswith("/v1") else Response()

    server = serve(loop, guarded)
    where: dict[str, Any] = {"endpoint": Endpoint(via="dns"), "address": f"{server.host}:{server.port}"}
    CoreV1Api(served.api).create_namespaced_secret(
        served.namespace, {"metadata": {"name": "engine-key"}, "stringData": {"api-key": "sesame\n"}}
    )

    without, with_key = served.verify(**where), served.verify(**where, api_key_secret="engine-key")

    server.close()
    assert "HTTP 401: it asks for a key, and was sent none; api_key_secret" in wrong(without)["protocol"]
    # as of pods that were started before their Secret was changed
    assert f"HTTP 401: it asks for another key than the Secret engine-key in {served.namespace} has now" in wrong(with_key)["protocol"]
    assert "kubectl rollout restart" in wrong(with_key)["protocol"]
    for verdict in (without, with_key):
        assert verdict.outcome == "errored"
        assert "sesame" not in repr(verdict)
    assert set(asked) == {"", "Bearer sesame"}
    # the pods behind it ask for none, and are sent it all the same
    with served.cluster.client() as cluster:
        (pod,) = cluster.pods.list(served.namespace, {})
    open_ = served.verify(endpoint=Endpoint(via="dns"), address=f"{pod.address}:8000", api_key_secret="engine-key")
    assert wrong(open_) == {}
    with pytest.raises(ClusterRejected, match="has no Secret other-key; create it"):
        served.verify(**where, api_key_secret="other-key")
    with pytest.raises(EndpointRejected, match="cannot be reached by the API server's proxy"):
        served.verify(api_key_secret="engine-key")


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    with LoopThread() as loop:
        yield loop


async def html(request: Request) -> Response:
    return HTMLResponse("<html><body>502 Bad Gateway, but politely</body></html>")


async def nonsense(request: Request) -> Response:
    return JSONResponse({"data": [{"id": None}], "choices": "none", "version": []})


async def dribble(request: Request) -> Response:
    async def drops() -> Any:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    return StreamingResponse(drops(), media_type="application/json")


def serve(loop: LoopThread, answer: Any) -> HttpServer:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (await answer(Request(scope, receive)))(scope, receive, send)

    server = HttpServer(app, loop)
    server.start()
    return server


@pytest.mark.parametrize("answer", [html, nonsense], ids=lambda answer: answer.__name__)
def test_what_is_not_vllm_is_errored_and_shown(served: Served, loop: LoopThread, answer: Any) -> None:
    server = serve(loop, answer)

    verdict = served.verify(endpoint=Endpoint(via="dns"), address=f"{server.host}:{server.port}")

    server.close()
    assert verdict.outcome == "errored"
    assert "is it vLLM?" in wrong(verdict)["protocol"]


def test_an_endpoint_that_is_silent_altogether_fails_at_its_health(served: Served, loop: LoopThread) -> None:
    async def silence(request: Request) -> Response:
        await asyncio.sleep(60)
        return Response()

    server = serve(loop, silence)

    verdict = served.verify(endpoint=Endpoint(via="dns", timeout_seconds=0.5), address=f"{server.host}:{server.port}")

    server.close()
    assert verdict.outcome == "failed"
    assert wrong(verdict) == {"health": "no answer in time"}


def test_an_answer_that_dribbles_for_ever_ends_in_time(loop: LoopThread) -> None:
    server = serve(loop, dribble)
    begin = time.monotonic()

    with Endpoint(via="dns", timeout_seconds=0.5).client(f"{server.host}:{server.port}") as client:
        assert client.complete("tiny", "Hello", 4).status is None
        load = client.load("/v1/completions", [{"prompt": "Hello"}] * 8, concurrency=2, budget_seconds=HANGS_SECONDS)
        with pytest.raises(EndpointUnreachable, match=r"did not answer /version within 0\.5 s"):
            client.version()

    server.close()
    assert {sample.status for sample in load.samples} == {None}
    assert len(load.samples) == 2
    assert time.monotonic() - begin < HANGS_SECONDS, "it is not used up"


async def endless(request: Request) -> Response:
    async def flood() -> Any:
        while True:
            yield b"data: " + b"x" * 65536 + b"\n\n"
            await asyncio.sleep(0)  # the server's loop is everybody's, and must notice who goes away

    return StreamingResponse(flood(), media_type="text/event-stream")


async def packed(request: Request) -> Response:
    # 64 kilobytes of a hundred megabytes of nothing, packed twice
    return Response(gzip.compress(gzip.compress(bytes(100 << 20), 1)), headers={"content-encoding": "gzip, gzip"})


def test_answers_without_end_and_such_that_unpack_to_gigabytes_take_neither_time_nor_memory(loop: LoopThread) -> None:
    floods, bombs = serve(loop, endless), serve(loop, packed)
    begin, used = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with Endpoint(via="dns", timeout_seconds=20).client(f"{floods.host}:{floods.port}") as client:
        load = client.load("/v1/completions", [{"prompt": "Hello", "max_tokens": 8, "stream": True}] * 8, concurrency=2, budget_seconds=30)
        with pytest.raises(EndpointRejected, match=r"answered /metrics with more than \d+ bytes"):
            client.metrics()
    with Endpoint(via="dns", timeout_seconds=20).client(f"{bombs.host}:{bombs.port}") as client:
        with pytest.raises(EndpointRejected, match=r"answered /version packed \('gzip, gzip'\), though it was asked not to"):
            client.version()
        flaws = {sample.error for sample in client.load("/v1/completions", [{"prompt": "Hello"}], concurrency=1, budget_seconds=30).samples}

    floods.close()
    bombs.close()
    assert {sample.error for sample in load.samples} == {"it answers with more than 98304 bytes, and was asked for less"}
    assert flaws == {"no completion"}, "under load nothing is unpacked"
    assert time.process_time() - begin < 10
    # in kilobytes; the server that floods is in this process, too
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 200_000


def test_nothing_there_is_unreachable_and_may_be_tried_again(served: Served) -> None:
    with pytest.raises(EndpointUnreachable):
        served.verify(endpoint=Endpoint(via="dns"), address="127.0.0.1:9")
    with Endpoint(via="dns").client("127.0.0.1:9") as client, pytest.raises(EndpointUnreachable):
        client.load("/v1/completions", [{}], concurrency=1, budget_seconds=1)
