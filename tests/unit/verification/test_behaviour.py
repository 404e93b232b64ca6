"""Answers against those of the release before: what differs is told, and judged by what the policy says."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.facts import Answer, EngineMetrics
from flows.spec import BehaviourPolicy, CheckSuite, StabilityPolicy
from flows.spec.checks import CompletionCheck, JsonCheck, UnknownModelCheck
from flows.verification.behaviour import (
    Golden,
    GoldenAnswer,
    Reference,
    check_behaviour,
    check_golden,
    compare,
    golden_answer,
    learnt,
    prompts_sha256,
)
from flows.verification.stability import check_cache, check_counts, check_hang, check_restarts
from tests.support.examples import pod

SUITE = CheckSuite(
    name="smoke",
    checks=(UnknownModelCheck(name="a", kind="unknown-model"),),
    golden=tuple(CompletionCheck(name=name, kind="completion", prompt=name) for name in ("one", "two")),
)


def said(name: str, text: str, off: float = 0.0, valid: bool = True) -> GoldenAnswer:
    """An answer of one token a character, each with a log-probability that is `off` from the usual."""
    return GoldenAnswer(name=name, text=text, tokens=tuple(text), logprobs=tuple(-0.1 + off for _ in text), valid=valid)


def golden(*answers: GoldenAnswer, noise: float = 0.0, share: float = 1.0) -> Golden:
    made = learnt(SUITE, [answers])
    return Golden(prompts_sha256=made.prompts_sha256, answers=answers, runs=3, exact_share=share, noise_nats=noise)


BEFORE = golden(said("one", "Paris."), said("two", "four."))


def outcome(now: Golden, before: Golden = BEFORE, commit: str = "new", **policy: Any) -> str:
    behaviour = compare(now, Reference(fingerprint="f" * 64, commit="old", golden=before), commit)
    return check_behaviour(behaviour, BehaviourPolicy(**policy)).outcome


def test_the_first_token_that_differs_is_told() -> None:
    behaviour = compare(golden(said("one", "Parma."), said("two", "four.", off=0.02)), Reference(fingerprint="f", golden=BEFORE), "new")

    assert behaviour is not None
    assert [difference.first_token for difference in behaviour.differences] == [3, None]
    assert (behaviour.exact_share, round(behaviour.max_nats, 6)) == (0.5, 0.02)
    assert behaviour.mean_nats == pytest.approx(0.02 * 5 / 8)


def test_an_answer_that_is_cut_short_differs_where_it_ends() -> None:
    behaviour = compare(golden(said("one", "Par"), said("two", "four.")), Reference(fingerprint="f", golden=BEFORE), "new")

    assert behaviour is not None
    assert behaviour.differences[0].first_token == 3


def test_a_schema_whose_properties_are_in_another_order_asks_for_something_else() -> None:
    def suite(*names: str) -> CheckSuite:
        schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
        return replace(SUITE, golden=(JsonCheck(name="a", kind="json", prompt="a", schema=schema),))

    assert prompts_sha256(suite("country", "capital")) != prompts_sha256(suite("capital", "country"))
    assert prompts_sha256(suite("country", "capital")) == prompts_sha256(suite("country", "capital"))


def test_the_same_commit_must_agree_within_what_repeated_runs_showed() -> None:
    same, off, other = (
        BEFORE,
        golden(said("one", "Paris.", off=0.01), said("two", "four.")),
        golden(said("one", "Lyon."), said("two", "four.")),
    )

    assert outcome(same, commit="old") == "passed"
    assert outcome(off, commit="old") == "failed"
    assert outcome(off, before=golden(*BEFORE.answers, noise=0.004), commit="old") == "passed", "three times the noise is tolerated"
    assert outcome(other, commit="old") == "failed"
    assert outcome(other, before=golden(*BEFORE.answers, share=0.5), commit="old") == "passed", "it differs from itself as much"
    assert outcome(other, commit="old", same_commit="report") == "passed"


def test_another_commit_is_reported_unless_the_policy_is_a_gate() -> None:
    other = golden(said("one", "Lyon."), said("two", "four."))
    invalid = golden(said("one", "Paris."), said("two", "four.", valid=False))
    off = golden(said("one", "Paris.", off=0.3), said("two", "four.", off=0.3))

    assert outcome(other) == outcome(invalid) == outcome(off) == "passed"
    assert outcome(other, mode="gate") == outcome(invalid, mode="gate") == outcome(off, mode="gate") == "failed"
    assert outcome(other, mode="gate", min_exact_share=0.5) == "passed"
    assert outcome(off, mode="gate", max_mean_nats=0.5) == "passed"


def test_other_prompts_or_no_release_before_cannot_be_compared() -> None:
    others = CheckSuite(name="smoke", checks=SUITE.checks, golden=SUITE.golden[:1])

    assert compare(BEFORE, Reference(), "new") is None
    assert compare(BEFORE, Reference(fingerprint="f", golden=learnt(others, [BEFORE.answers[:1]])), "new") is None
    assert check_behaviour(None, BehaviourPolicy(mode="gate")).outcome == "passed"


def test_noise_is_learnt_from_repeated_runs() -> None:
    first = [said("one", "Paris."), said("two", "four.")]

    learnt_ = learnt(SUITE, [first, [said("one", "Paris.", off=0.002), first[1]], [first[0], said("two", "for")]])

    assert (learnt_.runs, learnt_.noise_nats, learnt_.exact_share) == (3, 0.002, 0.5)


@given(before=st.text(max_size=12), now=st.text(max_size=12))
def test_the_first_difference_is_where_the_texts_part(before: str, now: str) -> None:
    behaviour = compare(
        golden(said("one", now), said("two", "")), Reference(fingerprint="f", golden=golden(said("one", before), said("two", ""))), "c"
    )

    assert behaviour is not None
    place = behaviour.differences[0].first_token
    assert (place is None) == (before == now)
    assert place is None or (before[:place] == now[:place] and before[place : place + 1] != now[place : place + 1])


def test_an_answer_that_is_none_is_kept_as_what_it_is() -> None:
    kept = golden_answer(SUITE.golden[0], Answer(status=500, seconds=0.1, error="boom"))

    assert (kept.text, kept.valid, kept.problem) == ("", False, "HTTP 500: boom")
    assert (
        check_golden(learnt(SUITE, [[kept, said("two", "four.")], [said("one", "Paris."), said("two", "four.")]])).seen
        == "3 answers; one: HTTP 500: boom"
    )
    assert check_golden(BEFORE).outcome == "passed"


def metrics(**changes: Any) -> EngineMetrics:
    return EngineMetrics(**{"generated_tokens": 10, "errors": 0, "preemptions": 0, "kv_cache_usage": 0.1, **changes})


def test_a_pod_that_restarted_or_was_replaced_is_not_stable() -> None:
    steady = pod("a")

    assert check_restarts([steady], [steady]).outcome == "passed"
    assert "restarted 1 time(s)" in check_restarts([steady], [pod("a", restarts=1)]).seen
    assert check_restarts([steady], []).seen == "tiny-llama-staging-1 is gone"
    assert "b is new" in check_restarts([steady], [steady, pod("a", name="b")]).seen


@pytest.mark.parametrize(
    ("after", "failing"), [({}, []), ({"errors": 1}, ["engine-errors"]), ({"preemptions": 5}, []), ({"preemptions": 6}, ["preemptions"])]
)
def test_errors_and_preemptions_during_the_load_are_counted(after: dict[str, int], failing: list[str]) -> None:
    measured = check_counts({"p": metrics()}, {"p": metrics(**after)}, 100, StabilityPolicy())

    assert [m.name for m in measured if m.outcome == "failed"] == failing


def test_counts_that_nobody_gave_are_not_zero() -> None:
    assert {m.outcome for m in check_counts({}, {}, 100, StabilityPolicy())} == {"failed"}


def test_a_full_cache_fails() -> None:
    assert [check_cache(peak, StabilityPolicy(max_kv_cache_usage=0.8)).outcome for peak in (0.8, 0.81)] == ["passed", "failed"]
    # what was not seen, or is no share, is no empty cache
    for peak in (math.nan, math.inf, -math.inf, -0.1, None):
        assert check_cache(peak, StabilityPolicy()).outcome == "errored"
    assert check_cache(0.1, StabilityPolicy(), "pod-0 answered nonsense").outcome == "errored"


def test_a_healthy_engine_whose_tokens_do_not_move_hangs() -> None:
    assert "/health answers HTTP 200, and not one token was generated in 60 s: the engine hangs" in check_hang(200, 10, 10, 60).seen
    assert "it is slow" in check_hang(200, 10, 12, 60).seen
    assert "does not say" in check_hang(None, None, 10, 60).seen
    assert check_hang(200, 10, 12, 60).outcome == "failed"
