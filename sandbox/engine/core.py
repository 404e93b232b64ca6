"""Generates tokens: places for requests, sampling, stop conditions, faults and the counts that the metrics show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import numpy as np

from sandbox.engine.faults import Faults, FaultsView
from sandbox.engine.grammar import Grammar
from sandbox.engine.loading import LoadedModel
from sandbox.engine.metrics import Metrics
from sandbox.engine.network import Floats, Network, log_softmax
from sandbox.engine.refusals import RequestRefused
from sandbox.engine.requests import Sampling
from sandbox.engine.tokenizer import TextStream

_GARBAGE = b"abcdefghijklmnopqrstuvwxyz "


@dataclass(frozen=True, kw_only=True)
class TokenLogprobs:
    """One token with its natural-log probability and those of the likeliest, best first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one token added: text that is final, its log-probabilities if asked for, and at the end the reason."""

    token: int
    text: str
    logprobs: TokenLogprobs | None
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class EngineCore:
    """Answers prompts from one loaded model.

    Args:
        model: The loaded model.
        metrics: Where requests and tokens are counted.
        faults: What goes wrong, if anything.
        max_num_seqs: How many requests run at once; more wait.
        seed: The seed of requests that give none.
    """

    def __init__(self, model: LoadedModel, metrics: Metrics, faults: FaultsView, *, max_num_seqs: int, seed: int) -> None:
        self.model = model
        self.metrics = metrics
        self.faults = faults
        self.running = 0
        self._places = asyncio.Semaphore(max_num_seqs)
        self._cache_tokens = 0
        self._cache_capacity = max_num_seqs * model.max_model_len
        self._seeds = np.random.default_rng(seed)
        self._error_debt = 0.0

    def check_prompt(self, tokens: Sequence[int], sampling: Sampling) -> int:
        """Return how many tokens may be generated.

        Raises:
            RequestRefused: The prompt is empty, holds unknown tokens, or does not fit the window together with what is asked for.
        """
        window = self.model.max_model_len
        if not tokens:
            raise RequestRefused("The decoder prompt cannot be empty", param="prompt")
        unknown = self.model.tokenizer.unknown(tokens)
        if unknown is not None:
            raise RequestRefused(f"Token id {unknown} is out of vocabulary", param="prompt")
        if len(tokens) >= window:
            raise RequestRefused(
                f"This model's maximum context length is {window} tokens. However, your request has {len(tokens)} input tokens."
                " Please reduce the length of the input messages.",
                param="input_tokens",
            )
        if sampling.max_tokens is None:
            return window - len(tokens)
        if len(tokens) + sampling.max_tokens > window:
            raise RequestRefused(
                f"'max_tokens' or 'max_completion_tokens' is too large: {sampling.max_tokens}. This model's maximum context length is"
                f" {window} tokens and your request has {len(tokens)} input tokens.",
                param="max_tokens",
            )
        return sampling.max_tokens

    def raise_fault(self) -> None:
        """Raise the error that the faults ask for; a share below one is spread evenly over the requests."""
        faults = self.faults.now()
        if faults.error_status is None:
            return
        self._error_debt += faults.error_share
        if self._error_debt >= 1.0:
            self._error_debt -= 1.0
            self.metrics.finished["error"].inc()
            raise RequestRefused("EngineCore encountered an issue. See stack trace (above) for the root cause.", status=faults.error_status)

    async def generate(self, prompt: Sequence[int], sampling: Sampling, network: Network) -> AsyncGenerator[Step, None]:
        """Yield a step for each token. Close the generator to abort; use `aclosing` so that this happens at once.

        Args:
            prompt: The prompt's tokens.
            sampling: How to choose.
            network: What answers: the base, or the base with an adapter.
        """
        limit = self.check_prompt(prompt, sampling)
        metrics, arrived = self.metrics, time.perf_counter()
        metrics.waiting.inc()
        try:
            await self._places.acquire()
        finally:
            metrics.waiting.dec()
        started = time.perf_counter()
        reason, times = "abort", [started]
        self._occupy(1, len(prompt))
        try:
            metrics.queue_time.observe(started - arrived)
            async for step in self._steps(prompt, sampling, network, limit):
                now = time.perf_counter()
                if len(times) == 1:
                    metrics.time_to_first_token.observe(now - arrived)
                    metrics.prompt_tokens.inc(len(prompt))
                    metrics.prefix_cache_queries.inc(len(prompt))
                else:
                    metrics.inter_token_latency.observe(now - times[-1])
                times.append(now)
                metrics.generation_tokens.inc()
                self._occupy(0, 1)
                # Counted before the last step is handed out: who has the answer finds it in the metrics.
                if step.finish_reason:
                    reason = step.finish_reason
                    self._observe(arrived, times, len(prompt))
                yield step
        finally:
            metrics.finished[reason].inc()
            self._occupy(-1, -(len(prompt) + len(times) - 1))
            self._places.release()

    def _occupy(self, requests: int, tokens: int) -> None:
        self.running += requests
        self._cache_tokens += tokens
        self.metrics.running.set(self.running)
        self.metrics.kv_cache_usage.set(self._cache_tokens / self._cache_capacity)

    def _observe(self, arrived: float, times: Sequence[float], prompt_tokens: int) -> None:
        generated = len(times) - 1
        self.metrics.e2e_latency.observe(times[-1] - arrived)
        self.metrics.prefill_time.observe(times[1] - times[0])
        self.metrics.decode_time.observe(times[-1] - times[1])
        self.metrics.time_per_output_token.observe((times[-1] - times[1]) / max(1, generated - 1))
        self.metrics.request_prompt_tokens.observe(prompt_tokens)
        self.metrics.request_generation_tokens.observe(generated)

    async def _steps(self, prompt: Sequence[int], sampling: Sampling, network: Network, limit: int) -> AsyncGenerator[Step, None]:
        tokens, text, grammar = list(prompt), _StoppingText(self.model, sampling), sampling.grammar
        seed = int(self._seeds.integers(2**32)) if sampling.seed is None else sampling.seed % 2**64
        generator = np.random.default_rng(seed)
        for count in range(1, limit + 1):
            faults = await self._suffer(first=count == 1)
            logits = network.logits(tokens)
            token = self._choose(self._constrained(logits, grammar), sampling, generator, faults, may_end=count > sampling.min_tokens)
            tokens.append(token)
            if grammar is not None and len(taken := self.model.tokenizer.bytes_of(token)) == 1:
                grammar = grammar.after(taken[0])
            reported = None if sampling.logprobs is None else self.report(log_softmax(logits), token, sampling.logprobs)
            step = text.push(token, reported, last=count == limit, may_stop=count > sampling.min_tokens)
            yield step
            if step.finish_reason:
                return

    async def _suffer(self, *, first: bool) -> Faults:
        """Wait as the faults ask, and let other requests have their turn."""
        faults = self.faults.now()
        while faults.hang:
            await asyncio.sleep(0.02)
            faults = self.faults.now()
        await asyncio.sleep(faults.token_latency_seconds + (faults.latency_seconds if first else 0.0))
        return faults

    def _constrained(self, logits: Floats, grammar: Grammar | None) -> Floats:
        """Forbid every token that the grammar does not allow; the end is allowed where the text is complete."""
        if grammar is None:
            return logits
        allowed = [self.model.tokenizer.token_of(byte) for byte in grammar.next_bytes()]
        # After a fault that ignores the grammar nothing may come any more: the text ends.
        if grammar.complete or not allowed:
            allowed += self.model.end_tokens
        constrained = np.full_like(logits, -np.inf)
        constrained[allowed] = logits[allowed]
        return constrained

    def _choose(self, logits: Floats, sampling: Sampling, generator: np.random.Generator, faults: Faults, *, may_end: bool) -> int:
        if faults.garbage:
            return self.model.tokenizer.encode(chr(generator.choice(list(_GARBAGE))))[0]
        allowed = logits
        if not may_end:
            allowed = logits.copy()
            allowed[list(self.model.end_tokens | sampling.stop_tokens)] = -np.inf
        if sampling.temperature < 1e-5:
            return int(allowed.argmax())
        order = np.argsort(allowed)[::-1]
        if sampling.top_k > 0:
            order = order[: sampling.top_k]
        probabilities = np.exp(log_softmax(allowed[order] / np.float32(sampling.temperature))).astype(np.float64)
        # Nucleus: the likeliest tokens up to and with the one that reaches the share.
        kept = int(np.searchsorted(np.cumsum(probabilities), sampling.top_p)) + 1
        probabilities = probabilities[:kept] / probabilities[:kept].sum()
        return int(order[generator.choice(len(probabilities), p=probabilities)])

    def report(self, logprobs: Floats, token: int, count: int) -> TokenLogprobs:
        """Return the token's log-probability and the likeliest tokens', before temperature."""
        best = np.argsort(logprobs)[::-1][:count]
        top = tuple((int(index), float(logprobs[index])) for index in best)
        return TokenLogprobs(token=token, logprob=float(logprobs[token]), top=top)


class _StoppingText:
    """Turns tokens into steps: releases text only when no stop text can begin in it any more."""

    def __init__(self, model: LoadedModel, sampling: Sampling) -> None:
        self._stream = TextStream(model.tokenizer)
        self._sampling = sampling
        self._ends = frozenset() if sampling.ignore_end else model.end_tokens
        self._held = ""
        self._hold = max((len(stop) for stop in sampling.stop), default=1) - 1

    def push(self, token: int, reported: TokenLogprobs | None, *, last: bool, may_stop: bool) -> Step:
        """Return the step that this token makes."""
        if token in self._ends or token in self._sampling.stop_tokens:
            stop_reason = None if token in self._ends else token
            text = self._held + self._stream.close()
            return Step(token=token, text=text, logprobs=reported, finish_reason="stop", stop_reason=stop_reason)
        self._held += self._stream.push(token)
        found = self._find() if may_stop else None
        if found is not None:
            end, stop = found
            return Step(token=token, text=self._held[:end], logprobs=reported, finish_reason="stop", stop_reason=stop)
        if last:
            return Step(token=token, text=self._held + self._stream.close(), logprobs=reported, finish_reason="length")
        release = max(0, len(self._held) - self._hold)
        text, self._held = self._held[:release], self._held[release:]
        return Step(token=token, text=text, logprobs=reported)

    def _find(self) -> tuple[int, str] | None:
        """Return where the text ends because of the first stop text in it, and that stop text."""
        places = [(self._held.find(stop), stop) for stop in self._sampling.stop]
        found = min(((place, stop) for place, stop in places if place >= 0), default=None)
        if found is None:
            return None
        place, stop = found
        return (place + len(stop) if self._sampling.include_stop else place), stop
