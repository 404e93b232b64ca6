"""Asks an endpoint for all that a verdict is made of: the suite's checks, the golden prompts, the load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from blocks.endpoint import EndpointClient
from blocks.facts import Answer, Load
from flows.spec import Candidate, Check, CheckSuite, GoldenPrompt, LatencyPolicy
from flows.spec.checks import LongContextCheck
from flows.verification.answers import check_answer
from flows.verification.behaviour import learnt
from flows.verification.golden import Golden, GoldenAnswer, golden_answer
from flows.verification.latency import samples_wanted
from flows.verification.measurement import Measurement
from flows.verification.probes import CHATS, TEXTS, Probe, ProbeAnswer, chosen, probe_answer
from flows.verification.requests import (
    COMPLETIONS,
    DETAILS,
    TEXT,
    Detail,
    Request,
    golden_request,
    load_requests,
    probe_request,
    request,
)

#: The seed of the first round's prompts; each further round takes the next one.
SEED = 20_260_101
#: Golden prompts under way at a time in the runs after the first: other batches, and so the noise that batching makes.
TOGETHER = 8
#: How many times longer than for others is waited for the first request with log-probabilities.
COMPILE_PATIENCE = 3.0


class Unanswered(Exception):
    """A question got no answer in time; asking more would only wait longer."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:.0f} s")
        self.seconds = seconds


class Questions:
    """What one candidate is asked through one endpoint."""

    def __init__(self, client: EndpointClient, candidate: Candidate) -> None:
        self._client = client
        self._model = candidate.model
        self._window = candidate.engine.max_model_len
        self._tokens: tuple[int, ...] = ()
        self._detail: Detail | None = None
        #: Whether an answer came as from an engine that is gone, or from whatever is in front of it.
        self.troubled = False

    def checks(self, suite: CheckSuite) -> Iterator[Measurement]:
        """Every check's measurement, in order.

        Raises:
            Unanswered: After the measurement of a check that got no answer.
            EndpointUnreachable: Nothing can be connected to.
            EndpointRejected: What answers is not vLLM.
        """
        for check in suite.checks:
            answer = self._ask(self._request(check))
            yield check_answer(check, answer, self._window)
            if answer.status is None:
                raise Unanswered(answer.seconds)

    def golden(self, suite: CheckSuite, runs: int, before: Sequence[Probe] = ()) -> Golden:
        """The answers to the golden prompts and to the pipeline's own, and what repeated runs differ by.

        Args:
            suite: Whose golden prompts are asked.
            runs: How often: first one by one, then several at a time.
            before: The prompts that the pipeline chose for the release before. They are asked again, so that the answers compare.

        Raises: as `checks` does.
        """
        with ThreadPoolExecutor(TOGETHER) as pool:
            probes, tried = self._choose(before, pool)
            first = [self._golden(golden) for golden in suite.golden]
            probed = [self._probe(probe) for probe in probes]
            others = [list(pool.map(self._golden, suite.golden)) for _ in range(runs - 1)]
            # Once more, several at a time: of so many positions the noise is known then. What was tried for the choice was asked so, too.
            again = [tried[probe] for probe in probes] if tried.keys() >= set(probes) else list(pool.map(self._probe, probes))
        return learnt(suite, [first, *others], [probed, again])

    def _choose(self, before: Sequence[Probe], pool: ThreadPoolExecutor) -> tuple[tuple[Probe, ...], dict[Probe, ProbeAnswer]]:
        """The prompts to ask, and the answers that were had while choosing."""
        # Texts and chats by themselves: a model that had no chat template may have got one.
        missing = [probe for probe in (*TEXTS, *CHATS) if not any(probe.chat is known.chat for known in before)]
        tried = dict(zip(missing, pool.map(self._probe, missing), strict=True))
        return (*before, *chosen(list(tried.values()))), tried

    def warm_up_detail(self) -> float:
        """Find out which log-probabilities the engine tells, and return how long that took, in seconds.

        vLLM compiles for the first request with log-probabilities (0.32.0 on a loaded CPU: 50 s), so it is waited for longer.

        Raises: as `warm_up` does.
        """
        seconds = 0.0
        for detail in DETAILS:
            asked = probe_request(Probe(name="warm-up", prompt=TEXT[:60]), self._model, detail)
            answer = self._client.ask(asked.path, asked.body, patience=COMPILE_PATIENCE)
            seconds += answer.seconds
            if answer.status is None:
                raise Unanswered(answer.seconds)
            if answer.status != 400:  # any other trouble is the measurements' to tell
                self._detail = detail
                break
        return seconds

    def warm_up(self, policy: LatencyPolicy) -> float:
        """Send the requests that do not count, and return how long they took in seconds.

        Raises:
            Unanswered: One of them got no answer.
            EndpointUnreachable: Nothing can be connected to.
            EndpointRejected: What answers is not vLLM.
        """
        # Prompts of their own (round -1), or the prefix cache would answer for the engine afterwards.
        load = self._load(policy, policy.warmup, max(policy.concurrency), round_=-1)
        for sample in load.samples:
            if sample.status is None:
                raise Unanswered(sample.seconds)
        return load.seconds

    def loads(self, policy: LatencyPolicy, concurrency: int, *, judged: bool) -> list[Load]:
        """The load at one concurrency, in as many rounds as it takes to judge the limits; one round where they are not judged.

        Raises: as `warm_up` does, but for `Unanswered`.
        """
        loads: list[Load] = []
        while wanted := (samples_wanted(loads, policy) if judged or not loads else 0):
            loads.append(self._load(policy, wanted, concurrency, round_=len(loads)))
        return loads

    def _load(self, policy: LatencyPolicy, count: int, concurrency: int, round_: int) -> Load:
        requests = load_requests(
            self._model,
            self._plain_tokens(),
            prompt_tokens=policy.prompt_tokens,
            max_tokens=policy.max_tokens,
            count=count,
            # Other prompts for each round and concurrency: none is in a prefix cache from before.
            seed=SEED + round_ * 1000 + concurrency,
        )
        bodies = [asked.body for asked in requests]
        return self._client.load(COMPLETIONS, bodies, concurrency=concurrency, budget_seconds=policy.budget_seconds)

    def _golden(self, golden: GoldenPrompt) -> GoldenAnswer:
        return golden_answer(golden, self._answered(golden_request(golden, self._model, self._window, self._detail)))

    def _probe(self, probe: Probe) -> ProbeAnswer:
        return probe_answer(probe, self._answered(probe_request(probe, self._model, self._detail)))

    def _answered(self, asked: Request) -> Answer:
        answer = self._ask(asked)
        if answer.status is None:
            raise Unanswered(answer.seconds)
        return answer

    def _ask(self, asked: Request) -> Answer:
        answer = self._client.ask(asked.path, asked.body)
        self.troubled = self.troubled or answer.status is None or answer.status >= 500
        return answer

    def _request(self, check: Check) -> Request:
        if not isinstance(check, LongContextCheck):
            return request(check, self._model, self._window)
        # It comes after the filler, so without the special tokens that open a text.
        prompt: Sequence[int] = self._client.tokenize(self._model, check.prompt, special=False)
        return request(check, self._model, self._window, self._plain_tokens(), prompt)

    def _plain_tokens(self) -> tuple[int, ...]:
        self._tokens = self._tokens or self._client.tokenize(self._model, TEXT)
        return self._tokens
