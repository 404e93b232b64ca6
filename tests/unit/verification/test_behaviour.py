"""Answers against those of the release before: what differs is told, and judged by what the policy says."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.facts import Answer, Container, EngineMetrics, Position
from flows.spec import BehaviourPolicy, CheckSuite, StabilityPolicy
from flows.spec.checks import CompletionCheck, JsonCheck, UnknownModelCheck
from flows.verification.behaviour import compare, incomparable, learnt, tolerance
from flows.verification.golden import Golden, GoldenAnswer, Reference, golden_answer, prompts_sha256
from flows.verification.probes import TEXTS, Probe, ProbeAnswer
from flows.verification.regression import check_behaviour, check_golden
from flows.verification.shift import NO_SHIFT, Shift
from flows.verification.stability import check_cache, check_counts, check_hang, check_restarts
from tests.support.examples import pod

SUITE = CheckSuite(
    name="smoke",
    checks=(UnknownModelCheck(name="a", kind="unknown-model"),),
    golden=tuple(CompletionCheck(name=name, kind="completion", prompt=name) for name in ("one", "two")),
)


def said(name: str, text: str, off: float = 0.0, valid: bool = True, tops: tuple[Position, ...] = ()) -> GoldenAnswer:
    """An answer of one token a character, each with a log-probability that is `off` from the usual."""
    return GoldenAnswer(name=name, text=text, tokens=tuple(text), logprobs=tuple(-0.1 + off for _ in text), valid=valid, said=tops)


def golden(*answers: GoldenAnswer, noise: float = 0.0, share: float = 1.0) -> Golden:
    made = learnt(SUITE, [answers])
    return replace(made, runs=3, exact_share=share, noise_nats=noise)


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


def place(at: str = "a", /, **shares: float) -> Position:
    return Position(token=at, top={name: math.log(share) for name, share in shares.items()})


SURE = place(a=0.998, b=0.001, c=0.0005)
#: The same choice with the same probability; only what was not chosen differs.
MOVED = place(a=0.998, b=0.0012, c=0.0004)


def probed(*positions: Position, probe: Probe = TEXTS[0], read: tuple[Position, ...] = ()) -> ProbeAnswer:
    return ProbeAnswer(probe=probe, text="".join(position.token for position in positions), read=read, said=positions)


def with_probes(*answers: ProbeAnswer, noise: Shift = NO_SHIFT) -> Golden:
    return replace(golden(*BEFORE.answers), probes=answers, noise=noise)


def test_a_change_that_the_chosen_tokens_do_not_show_fails_the_same_commit() -> None:
    before, now = with_probes(probed(SURE, SURE)), with_probes(probed(SURE, MOVED))

    behaviour = compare(now, Reference(fingerprint="f", commit="old", golden=before), "old")

    assert behaviour is not None
    assert (behaviour.exact_share, behaviour.max_nats) == (1.0, 0.0)
    assert behaviour.shift is not None
    assert behaviour.shift.positions == 2
    measured = check_behaviour(behaviour, BehaviourPolicy())
    assert measured.outcome == "failed"
    assert "distributions off by 0.0507 (mean) and 0.1014 (max) nats over 2 positions" in measured.seen
    assert outcome(now, before) == "passed", "of another commit it is told"


def test_what_an_engine_differs_from_itself_by_is_tolerated_threefold() -> None:
    noisy = Shift(positions=2, mean_nats=0.02, max_nats=0.04)
    before, now = with_probes(probed(SURE, SURE), noise=noisy), with_probes(probed(SURE, MOVED))

    assert outcome(now, before, commit="old") == "passed"
    assert tolerance(noisy, NO_SHIFT, None) == Shift(positions=2, mean_nats=0.06, max_nats=0.12)
    assert tolerance(None).mean_nats == 0.001


def test_two_tokens_that_are_as_likely_may_change_places_in_the_same_commit() -> None:
    before = golden(said("one", "a", tops=(place("a", a=0.4, b=0.3999),)), said("two", "four."))
    now = golden(said("one", "b", tops=(place("b", a=0.3999, b=0.4),)), said("two", "four."))
    elsewhere = golden(said("one", "b", tops=(place("b", a=0.3, b=0.4),)), said("two", "four."))

    assert outcome(now, before, commit="old") == "passed"
    assert outcome(elsewhere, before, commit="old") == "failed"


def test_a_prompt_that_is_read_as_other_tokens_fails_however_noisy_the_engine_is() -> None:
    noisy = Shift(positions=2, mean_nats=9.0, max_nats=9.0)
    before = with_probes(probed(SURE, read=(place("a", a=0.5), place("b", b=0.5))), noise=noisy)
    now = with_probes(probed(SURE, read=(place("a", a=0.5), place("c", c=0.5))))

    assert outcome(before, before, commit="old") == "passed"
    assert outcome(now, before, commit="old") == "failed"


def test_answers_of_an_earlier_build_are_told_as_incomparable_and_fail_nothing() -> None:
    earlier = golden(said("one", "Lyon."), said("two", "four."), noise=0.0)
    reference = Reference(fingerprint="f", commit="old", golden=replace(earlier, noise=None))

    assert compare(BEFORE, reference, "old") is None
    measured = check_behaviour(None, BehaviourPolicy(), incomparable(BEFORE, reference))
    assert (measured.outcome, measured.seen.rpartition(": ")[2]) == ("passed", "incomparable")


def test_an_engine_that_no_longer_tells_log_probabilities_leaves_the_same_commit_open() -> None:
    told = golden(said("one", "a", tops=(SURE,)), said("two", "four."))
    silent = golden(said("one", "a"), said("two", "four."))

    assert outcome(silent, told, commit="old") == "inconclusive"
    assert outcome(silent, silent, commit="old") == "passed"
    assert outcome(silent, told) == "passed"


def test_the_pipelines_own_prompts_are_compared_whatever_the_suite_asks() -> None:
    others = CheckSuite(name="smoke", checks=SUITE.checks)
    before = learnt(others, [[], []], [[probed(SURE)], [probed(SURE)]])

    assert outcome(with_probes(probed(MOVED)), before, commit="old") == "failed"
    assert outcome(with_probes(probed(SURE)), before, commit="old") == "passed"


def test_the_noise_of_the_pipelines_own_prompts_is_learnt_as_well() -> None:
    none: list[GoldenAnswer] = []
    made = learnt(SUITE, [none, none, none], [[probed(SURE, SURE)], [probed(SURE, MOVED)], [probed(SURE, SURE)]])

    assert made.noise is not None
    assert (made.noise.positions, made.noise.mean_nats) == (2, pytest.approx(0.0507, abs=1e-4))


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
    over = pod("a", containers=(Container(name="vllm", state="terminated"),))
    why = {over.name: "crash-loop: exit code 137"}
    assert check_restarts([steady], [over], why).seen == "tiny-llama-staging-1 ended (crash-loop: exit code 137)"


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
