"""What a router reads of an answer that it passes on, whatever the engine writes."""

from __future__ import annotations

import json

import pytest

from sandbox.answers import Answer
from sandbox.router_metrics import stratum


class Watched:
    def __init__(self, streamed: bool = True) -> None:
        self.first: list[float] = []
        self.gaps: list[float] = []
        self.answer = Answer(streamed, self.first.append, self.gaps.append)

    def read(self, *pieces: bytes) -> Answer:
        for number, piece in enumerate(pieces):
            self.answer.read(piece, float(number))
        self.answer.end()
        return self.answer


def event(**document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def chunk(text: str | None, reason: str | None = None, index: int = 0, **delta: object) -> bytes:
    return event(choices=[{"index": index, "delta": {"content": text, **delta}, "finish_reason": reason}])


def test_a_chat_that_is_streamed() -> None:
    watched = Watched()
    role = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])
    usage = event(choices=[], usage={"completion_tokens": 2})
    answer = watched.read(role, chunk("a"), chunk("b"), chunk(None, "stop"), usage, b"data: [DONE]\n\n")

    # The role comes before any token, and the reason after the last.
    assert (watched.first, watched.gaps) == ([1.0], [1.0])
    assert (answer.finish_reason, answer.output_tokens, answer.failed) == ("stop", 2, False)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content", "tool_calls", "refusal"])
def test_tokens_are_not_only_content(field: str) -> None:
    watched = Watched()
    watched.read(chunk(None, **{field: ["x"]}))
    assert watched.first == [0.0]


def test_completions_and_lines_in_pieces() -> None:
    watched = Watched()
    text = event(choices=[{"index": 0, "text": "a"}]) + event(choices=[{"index": 0, "text": "b", "finish_reason": "length"}])
    answer = watched.read(*(text[at : at + 7] for at in range(0, len(text), 7)))
    assert (len(watched.first), len(watched.gaps), answer.finish_reason) == (1, 1, "length")


def test_one_of_several_choices_stands_for_all() -> None:
    watched = Watched()
    watched.read(chunk("a"), chunk("x", index=1), chunk("b"))
    assert watched.gaps == [2.0]


def test_an_answer_in_one_piece() -> None:
    watched = Watched(streamed=False)
    whole = json.dumps({"choices": [{"index": 0, "message": {}, "finish_reason": "stop"}], "usage": {"completion_tokens": 9}}).encode()
    answer = watched.read(whole[:20], whole[20:])
    assert (answer.finish_reason, answer.output_tokens, watched.first) == ("stop", 9, [])


def test_an_error_in_the_middle_of_a_stream() -> None:
    assert Watched().read(chunk("a"), event(error={"message": "out of memory"})).failed


@pytest.mark.parametrize(
    "piece",
    [
        *[b"", b"\n", b":", b"data:", b"data: {", b"data: []\n", b"data: 7\n", b'data: {"choices": 7}\n', b'data: {"choices": [7]}\n'],
        *[b'data: {"choices": [{"index": 0, "delta": 7, "finish_reason": {}}]}\n', b'data: {"usage": {"completion_tokens": -1}}\n'],
        *[
            b'data: {"usage": {"completion_tokens": 1e9}}\n',
            b"data: " + b"[" * 100_000 + b"\n",
            b"\xff\xfe\n",
            b"data: " + b"9" * 5000 + b"\n",
        ],
    ],
)
def test_what_is_no_answer_is_not_read(piece: bytes) -> None:
    for streamed in (True, False):
        watched = Watched(streamed)
        answer = watched.read(piece)
        assert (watched.first, answer.finish_reason, answer.output_tokens) == ([], None, None)
    assert Watched().read(piece + b"\n", chunk("a", "stop")).finish_reason == "stop", "and what comes after it is"


def test_a_line_without_end_fills_no_memory_and_hides_nothing_after_it() -> None:
    watched = Watched()
    for _ in range(40):
        watched.answer.read(b"x" * (1 << 16), 0.0)
    assert len(watched.answer._rest) <= 1 << 20
    assert watched.read(b"\n", chunk("a", "made up")).finish_reason == "other"


@pytest.mark.parametrize(
    ("size", "name"), [(0, "<=1KiB"), (1024, "<=1KiB"), (1025, "<=4KiB"), (16384, "<=16KiB"), (65536, "<=64KiB"), (65537, ">64KiB")]
)
def test_strata(size: int, name: str) -> None:
    assert stratum(size) == name
