"""Builds the JSON of completions and chat completions, whole or as server-sent events, from the steps of the core."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from sandbox.engine.core import EngineCore, Step, TokenLogprobs
from sandbox.engine.network import Network, log_softmax
from sandbox.engine.raw import written
from sandbox.engine.requests import Sampling, Streaming
from sandbox.engine.structured import FREE, Structure, message


@dataclass(frozen=True, kw_only=True)
class Job:
    """One request, checked: who answers, its prompts as tokens, and what to do with them. `echo` repeats the prompt before the text."""

    model: str
    network: Network
    prompts: Sequence[Sequence[int]]
    sampling: Sampling
    streaming: Streaming
    chat: bool
    echo: bool = False
    structure: Structure = FREE


class Answer:
    """The answer to one job.

    Args:
        core: Generates the tokens.
        job: What is asked for.
        fingerprint: The `system_fingerprint` to state.
    """

    def __init__(self, core: EngineCore, job: Job, fingerprint: str) -> None:
        self._core = core
        self._job = job
        self._tokenizer = core.model.tokenizer
        prefix, kind = ("chatcmpl", "chat.completion") if job.chat else ("cmpl", "text_completion")
        self._kind = kind
        self._head = {"id": f"{prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": job.model}
        self._fingerprint = fingerprint

    async def whole(self) -> dict[str, Any]:
        """Return the JSON of the complete answer."""
        choices, generated = [], 0
        for index, prompt in enumerate(self._job.prompts):
            async with aclosing(self._core.generate(prompt, self._job.sampling, self._job.network)) as steps:
                taken = [step async for step in steps]
            generated += len(taken)
            choices.append(self._choice(index, prompt, taken))
        # A chat tells its prompt's beside the choices, a completion within each.
        read = {"prompt_logprobs": self._prompt_logprobs(self._job.prompts[0])} if self._job.chat else {}
        return {
            **self._head,
            "object": self._kind,
            "choices": choices,
            "system_fingerprint": self._fingerprint,
            "usage": self._usage(generated),
            **read,
        }

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the answer as server-sent events, the last one `[DONE]`."""
        generated = 0
        for index, prompt in enumerate(self._job.prompts):
            if self._job.chat:
                yield self._event([{"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
            elif self._job.echo:
                text = self._tokenizer.decode(prompt)
                yield self._event([{"index": index, "text": text, "logprobs": None, "finish_reason": None}])
            offset = len(self._tokenizer.decode(prompt)) if self._job.echo else 0
            async with aclosing(self._core.generate(prompt, self._job.sampling, self._job.network)) as steps:
                async for event, length in self._chunks(index, steps, offset):
                    offset += length
                    generated += 1
                    if event:
                        yield event
        if self._job.streaming.include_usage:
            yield self._event([], usage=self._usage(generated))
        yield b"data: [DONE]\n\n"

    async def _chunks(self, index: int, steps: AsyncGenerator[Step, None], offset: int) -> AsyncIterator[tuple[bytes, int]]:
        async for step in steps:
            reported = [step.logprobs] if step.logprobs else None
            end = {"finish_reason": step.finish_reason, "stop_reason": step.stop_reason}
            if self._job.chat:
                choice = {"index": index, "delta": {"content": step.text}, "logprobs": self._chat_logprobs(reported), **end}
            else:
                choice = {"index": index, "text": step.text, "logprobs": self._text_logprobs(reported, offset), **end}
            # A token that released no text tells nothing, unless it carries log-probabilities or the end.
            silent = not step.text and not step.finish_reason and not reported
            yield (b"" if silent else self._event([choice])), len(step.text)

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        kind = "chat.completion.chunk" if self._job.chat else self._kind
        document = {**self._head, "object": kind, "choices": choices, **more}
        return b"data: " + written(document, self._core.faults.now().raw) + b"\n\n"

    def _usage(self, generated: int) -> dict[str, Any]:
        read = sum(len(prompt) for prompt in self._job.prompts)
        return {"prompt_tokens": read, "total_tokens": read + generated, "completion_tokens": generated, "prompt_tokens_details": None}

    def _choice(self, index: int, prompt: Sequence[int], steps: Sequence[Step]) -> dict[str, Any]:
        text = "".join(step.text for step in steps)
        reported = [step.logprobs for step in steps if step.logprobs] if self._job.sampling.logprobs is not None else None
        end: dict[str, Any] = {"finish_reason": steps[-1].finish_reason, "stop_reason": steps[-1].stop_reason}
        if self._job.chat:
            said, end["finish_reason"] = message(self._job.structure, text, steps[-1].finish_reason)
            return {"index": index, "message": said, "logprobs": self._chat_logprobs(reported), **end}
        logprobs = self._text_logprobs(reported, 0)
        if self._job.echo:
            text = self._tokenizer.decode(prompt) + text
            if reported is not None:
                logprobs = self._text_logprobs([*self._of_prompt(prompt, self._job.sampling.logprobs or 0), *reported], 0)
        return {"index": index, "text": text, "logprobs": logprobs, "prompt_logprobs": self._prompt_logprobs(prompt), **end}

    def _prompt_logprobs(self, prompt: Sequence[int]) -> list[dict[str, Any] | None] | None:
        """Return an object by token number for each of the prompt's tokens, its own first, as vLLM 0.32.0 does."""
        count = self._job.sampling.prompt_logprobs
        if count is None:
            return None
        told: list[dict[str, Any] | None] = []
        for entry in self._of_prompt(prompt, count):
            if isinstance(entry, int):
                told.append(None)
                continue
            ranks = {token: rank for rank, (token, _) in enumerate(entry.top, start=1)}
            named = {entry.token: entry.logprob, **dict(entry.top)}
            told.append({str(token): self._ranked(token, value, ranks.get(token, count + 1)) for token, value in named.items()})
        return told

    def _ranked(self, token: int, logprob: float, rank: int) -> dict[str, Any]:
        return {"logprob": logprob, "rank": rank, "decoded_token": self._tokenizer.name(token)}

    def _of_prompt(self, prompt: Sequence[int], count: int) -> list[TokenLogprobs | int]:
        """Return what the model thought of the prompt's tokens; of the first it had nothing to go by."""
        rows = log_softmax(self._job.network.prompt_logits(prompt))
        return [prompt[0], *(self._core.report(row, token, count) for row, token in zip(rows, prompt[1:], strict=True))]

    def _text_logprobs(self, reported: Sequence[TokenLogprobs | int] | None, offset: int) -> dict[str, Any] | None:
        """Return the lists of a completion; a bare token stands for one without log-probabilities."""
        if reported is None:
            return None
        names, values, tops, offsets = [], [], [], []
        for entry in reported:
            token = entry if isinstance(entry, int) else entry.token
            names.append(self._name(token))
            offsets.append(offset)
            offset += len(self._tokenizer.name(token))
            values.append(None if isinstance(entry, int) else entry.logprob)
            tops.append(None if isinstance(entry, int) else self._alternatives(entry))
        return {"text_offset": offsets, "token_logprobs": values, "tokens": names, "top_logprobs": tops}

    def _chat_logprobs(self, reported: Sequence[TokenLogprobs] | None) -> dict[str, Any] | None:
        if reported is None:
            return None
        content = []
        for entry in reported:
            top = [self._chat_entry(token, value) for token, value in entry.top]
            content.append({**self._chat_entry(entry.token, entry.logprob), "top_logprobs": top})
        return {"content": content}

    def _chat_entry(self, token: int, logprob: float) -> dict[str, Any]:
        raw = list(self._tokenizer.bytes_of(token, skip_special=False))
        return {"token": self._name(token), "logprob": logprob, "bytes": raw}

    def _alternatives(self, entry: TokenLogprobs) -> dict[str, float]:
        """Return the likeliest tokens and always the chosen one, as vLLM does."""
        return {**{self._name(token): value for token, value in entry.top}, self._name(entry.token): entry.logprob}

    def _name(self, token: int) -> str:
        return f"token_id:{token}" if self._job.sampling.numbered else self._tokenizer.name(token)
