"""The prompts that the pipeline asks by itself, and which of them it keeps for a model: those it is least and those it is most sure of.

A suite asks what a model should know, so it is sure of the answers; a change of its weights hardly moves those. Here the choice goes by the
candidate's own entropy, and the texts are of many kinds, so that there is something to be unsure of for any model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blocks.facts import Answer, Position
from flows.verification.shift import Shift, entropy_nats, read_shifts, said_shifts, summed

#: Log-probabilities that are asked for at each position. vLLM answers 20 at most unless it is told otherwise (`--max-logprobs`).
TOP = 5
#: Tokens of an answer: most positions come from reading the prompt, which takes one step; these are what decoding adds.
SAID_TOKENS = 4


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A prompt that the pipeline asks by itself.

    Attributes:
        name: Its name.
        prompt: The text, or the one user message.
        chat: Whether it is a message, put through the model's chat template.
    """

    name: str
    prompt: str
    chat: bool = False


@dataclass(frozen=True, kw_only=True)
class ProbeAnswer:
    """A release's answer to a probe.

    Attributes:
        probe: What was asked.
        text: What was said.
        read: The prompt's positions.
        said: The answer's positions.
        problem: What came instead of an answer; empty where one came.
    """

    probe: Probe
    text: str
    read: tuple[Position, ...] = ()
    said: tuple[Position, ...] = ()
    problem: str = ""

    @property
    def positions(self) -> tuple[Position, ...]:
        """All of them, in the order of the text."""
        return self.read + self.said

    @property
    def entropy_nats(self) -> float:
        """How unsure the model is, in the mean over the positions."""
        positions = self.positions
        return sum(map(entropy_nats, positions)) / len(positions) if positions else 0.0


def _texts(*texts: str) -> tuple[Probe, ...]:
    return tuple(Probe(name=f"text-{number}", prompt=text) for number, text in enumerate(texts, start=1))


def _chats(*messages: str) -> tuple[Probe, ...]:
    return tuple(Probe(name=f"chat-{number}", prompt=message, chat=True) for number, message in enumerate(messages, start=1))


#: What is chosen from. Short, since it must fit any window; a text that is changed here gets another number.
TEXTS = _texts(
    "In the morning the river was so high that the ferry",
    "She opened the letter, read it twice, and then",
    "The committee met for three hours and decided to",
    "one two three four five six seven eight nine",
    "Monday, Tuesday, Wednesday, Thursday, Friday,",
    "def mean(values):\n    return sum(values) /",
    '{"name": "Ada", "born": 1815, "city":',
    "If x + 3 = 10, then x is",
    "Der Zug nach Hamburg fährt heute um",
    "La maison au bord de la mer était",
    "Ingredients: two eggs, flour, a pinch of",
    "Water, iron and light have in common that",
)
CHATS = _chats(
    "Name a colour.",
    "Tell me something about the sea.",
    "What is seven times eight?",
    "Which word rhymes with light?",
    "Is water wet? Answer yes or no.",
    "Say good evening in French.",
)

#: How many are kept of each, (least sure, most sure).
KEPT_TEXTS = (3, 2)
KEPT_CHATS = (2, 1)


def chosen(asked: Sequence[ProbeAnswer]) -> tuple[Probe, ...]:
    """Which of the prompts to keep, by the entropy of these answers; those without an answer are left out.

    In the order in which they were asked, the same answers always give the same choice.
    """
    kept = [
        probe
        for chat, (unsure, sure) in ((False, KEPT_TEXTS), (True, KEPT_CHATS))
        for probe in _extremes([answer for answer in asked if answer.probe.chat is chat and not answer.problem], unsure, sure)
    ]
    return tuple(answer.probe for answer in asked if answer.probe in kept)


def _extremes(answers: Sequence[ProbeAnswer], unsure: int, sure: int) -> list[Probe]:
    ordered = [answer.probe for answer in sorted(answers, key=lambda answer: answer.entropy_nats, reverse=True)]
    return ordered[:unsure] + ordered[unsure:][-sure:]


def probe_answer(probe: Probe, answer: Answer) -> ProbeAnswer:
    """What is kept of an answer to a probe."""
    problem = "" if answer.status == 200 else f"HTTP {answer.status}: {answer.error[:200]}"
    if not problem and not answer.said:
        problem = "no log-probabilities, though they were asked for"
    return ProbeAnswer(probe=probe, text=answer.text, read=answer.read, said=answer.said, problem=problem)


def probe_shifts(before: ProbeAnswer, now: ProbeAnswer) -> list[float]:
    """How far two answers to one probe are apart, position by position."""
    # A release that tells of the prompt and one that does not have only their answers in common.
    read = read_shifts(before.read, now.read) if before.read and now.read else []
    return read + said_shifts(before.said, now.said)


def probes_shift(before: Sequence[ProbeAnswer], now: Sequence[ProbeAnswer]) -> Shift:
    """The same of all probes that both releases answered."""
    known = {answer.probe: answer for answer in before if not answer.problem}
    return summed(
        [shift for answer in now if not answer.problem and answer.probe in known for shift in probe_shifts(known[answer.probe], answer)]
    )
