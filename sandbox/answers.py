"""What a router reads of an answer while it passes it on: when its tokens came, how it ended, how long it was.

An engine's answer may be anything: what is too long to look into, or is not as OpenAI's protocol has it, is passed on and not read.
"""

from __future__ import annotations

import json
from collections.abc import Callable

#: Bytes of a line of a stream, and of an answer in one piece, that are looked into.
_LONGEST_LINE, _LONGEST_ANSWER = 1 << 20, 1 << 23

#: The reasons of OpenAI's protocol and of vLLM; any other counts as `other`, as labels of metrics must stay few.
REASONS = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter", "abort", "error", "repetition"})

#: What holds tokens in a chunk of a chat (`reasoning` and `reasoning_content` are vLLM's, of its present and former versions).
_TOKENS = ("content", "reasoning", "reasoning_content", "refusal", "tool_calls", "function_call")


class Answer:
    """An answer that is being passed on.

    Attributes:
        finish_reason: Why its first choice ended; None if that was not told.
        output_tokens: Its length as the engine told it (`usage`); None if it did not.
        failed: Whether the engine told of an error in the middle of it.

    Args:
        streamed: Whether it comes as server-sent events.
        first: Called once, with the time of the first token.
        next_token: Called with the time since the chunk of tokens before, for each after the first.
    """

    def __init__(self, streamed: bool, first: Callable[[float], None], next_token: Callable[[float], None]) -> None:
        self._streamed = streamed
        self._first = first
        self._next_token = next_token
        self._rest = bytearray()
        self._too_long = False
        self._last_at: float | None = None
        self.finish_reason: str | None = None
        self.output_tokens: int | None = None
        self.failed = False

    def read(self, piece: bytes, at: float) -> None:
        """Look into a piece that came at that time (seconds, of any clock)."""
        longest = _LONGEST_LINE if self._streamed else _LONGEST_ANSWER
        *lines, rest = piece.split(b"\n") if self._streamed else [piece]
        for line in lines:
            if not self._too_long and len(self._rest) + len(line) <= longest:
                self._line(bytes(self._rest) + line, at)
            self._rest.clear()
            self._too_long = False
        if self._too_long or len(self._rest) + len(rest) > longest:
            self._too_long = True
            self._rest.clear()
        else:
            self._rest += rest

    def end(self) -> None:
        """There is no more of it."""
        if not self._streamed and not self._too_long:
            self._document(bytes(self._rest), None)
        self._rest.clear()

    def _line(self, line: bytes, at: float) -> None:
        field, _, text = line.partition(b":")
        if field == b"data" and text.strip() != b"[DONE]":
            self._document(text, at)

    def _document(self, text: bytes, at: float | None) -> None:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(document, dict):
            return
        self.failed = self.failed or bool(document.get("error"))
        usage = document.get("usage")
        tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
        if isinstance(tokens, int) and 0 <= tokens < 1 << 31:
            self.output_tokens = tokens
        choices = document.get("choices")
        # One of several choices stands for the answer: between two of them there is no time.
        choice = (
            next((each for each in choices if isinstance(each, dict) and each.get("index", 0) == 0), None)
            if isinstance(choices, list)
            else None
        )
        if choice is None:
            return
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self.finish_reason = reason if reason in REASONS else "other"
        if at is not None and _holds_tokens(choice):
            if self._last_at is None:
                self._first(at)
            else:
                self._next_token(at - self._last_at)
            self._last_at = at


def _holds_tokens(choice: dict[str, object]) -> bool:
    delta = choice.get("delta")
    if isinstance(delta, dict):
        return any(delta.get(name) for name in _TOKENS)
    return bool(choice.get("text"))
