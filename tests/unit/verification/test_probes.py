"""The pipeline's own prompts: those that the model is least and most sure of are kept, and asked again of the next release."""

from __future__ import annotations

import math

from blocks.facts import Answer, Position
from flows.verification.probes import CHATS, KEPT_CHATS, KEPT_TEXTS, TEXTS, Probe, ProbeAnswer, chosen, probe_answer, probes_shift


def position(share: float) -> Position:
    return Position(token="a", top={"a": math.log(share), "b": math.log((1 - share) / 2)})


def answered(probe: Probe, share: float) -> ProbeAnswer:
    return ProbeAnswer(probe=probe, text="a", read=(position(share),), said=(position(share),))


# Text 1 is answered most surely, text 12 least; the same for chats.
TEXT_ANSWERS = [answered(probe, 0.99 - 0.05 * number) for number, probe in enumerate(TEXTS)]
CHAT_ANSWERS = [answered(probe, 0.99 - 0.05 * number) for number, probe in enumerate(CHATS)]


def test_the_least_and_the_most_sure_are_kept_in_the_order_of_asking() -> None:
    kept = [probe.name for probe in chosen([*TEXT_ANSWERS, *CHAT_ANSWERS])]

    assert (KEPT_TEXTS, KEPT_CHATS) == ((3, 2), (2, 1))
    assert kept == ["text-1", "text-2", "text-10", "text-11", "text-12", "chat-1", "chat-5", "chat-6"]


def test_a_model_without_a_chat_template_is_asked_texts_alone() -> None:
    refused = [probe_answer(probe, Answer(status=400, seconds=0.1, error="no chat template")) for probe in CHATS]

    assert refused[0].problem == "HTTP 400: no chat template"
    assert not any(probe.chat for probe in chosen([*TEXT_ANSWERS, *refused]))


def test_of_few_answers_none_is_kept_twice() -> None:
    assert [probe.name for probe in chosen(TEXT_ANSWERS[:4])] == ["text-1", "text-2", "text-3", "text-4"]
    assert chosen([]) == ()


def test_an_answer_without_log_probabilities_is_told_as_that() -> None:
    assert "no log-probabilities" in probe_answer(TEXTS[0], Answer(status=200, seconds=0.1, text="a")).problem


def test_only_what_both_releases_answered_is_compared() -> None:
    now = [answered(TEXTS[0], 0.5), answered(TEXTS[1], 0.94), ProbeAnswer(probe=TEXTS[2], text="", problem="HTTP 500: boom")]

    shift = probes_shift(TEXT_ANSWERS[1:], now)

    assert (shift.positions, shift.max_nats) == (2, 0.0)


def test_the_prompts_fit_the_smallest_window() -> None:
    assert max(len(probe.prompt.encode()) for probe in (*TEXTS, *CHATS)) <= 64
