"""What becomes of answers that differ from those of the release before: told, or a failure, by the environment's policy."""

from __future__ import annotations

from flows.spec import BehaviourPolicy
from flows.verification.behaviour import Behaviour
from flows.verification.golden import Golden
from flows.verification.measurement import Measurement, judged


def check_golden(golden: Golden) -> Measurement:
    """Every golden prompt and every probe must have been answered every time."""
    asked = golden.runs * len(golden.answers) + 2 * len(golden.probes)
    seen = f"{asked - len(golden.problems)} answers" + (f"; {golden.problems[0]}" if golden.problems else "")
    return judged("golden-prompts", "behaviour", not golden.problems, expected=f"{asked} answers", seen=seen)


def check_behaviour(behaviour: Behaviour | None, policy: BehaviourPolicy, why: str = "nothing to compare with") -> Measurement:
    """Judge the differences by the policy; where it only asks for a report, they are told and pass.

    Args:
        behaviour: The differences; none where the answers cannot be compared, as on a first release.
        policy: What becomes of them.
        why: Why they cannot be compared.
    """
    if behaviour is None:
        return judged("behaviour", "behaviour", True, expected="a release to compare with, if there is one", seen=why)
    if behaviour.same_commit and policy.same_commit == "gate":
        return _same_commit(behaviour)
    if policy.mode == "gate":
        expected = (
            f"{policy.min_exact_share:.0%} exact or more, {policy.max_mean_nats:g} nats in the mean at most, and no fewer valid answers"
        )
        near = behaviour.exact_share >= policy.min_exact_share and behaviour.mean_nats <= policy.max_mean_nats
        held = near and behaviour.valid_now >= behaviour.valid_before
        return judged("behaviour", "behaviour", held, expected=expected, seen=_seen(behaviour))
    return judged("behaviour", "behaviour", True, expected="a report", seen=_seen(behaviour))


def _same_commit(behaviour: Behaviour) -> Measurement:
    expected = (
        f"the same commit's answers: {behaviour.tolerance_share:.0%} exact and log-probabilities within "
        f"{behaviour.tolerance_nats:.4f} nats, as repeated runs showed"
    )
    # Two tokens that are as likely may change places by noise alone; the distributions tell whether they are.
    other = [difference for difference in behaviour.differences if difference.first_token is not None and not difference.tie]
    exact = not other or behaviour.exact_share >= behaviour.tolerance_share
    agree = exact and behaviour.max_nats <= behaviour.tolerance_nats
    shift, tolerated = behaviour.shift, behaviour.tolerance_shift
    if shift is not None and tolerated is not None:
        expected += f", distributions within {tolerated.mean_nats:.4f} in the mean and {tolerated.max_nats:.4f} at any position"
        agree = agree and shift.mean_nats <= tolerated.mean_nats and shift.max_nats <= tolerated.max_nats
    agree = agree and not any(probe.reread for probe in behaviour.probes)
    if agree and shift is None:
        seen = f"{_seen(behaviour)}; the engine no longer tells log-probabilities, so that a small change of the weights could not be seen"
        return Measurement(name="behaviour", kind="behaviour", outcome="inconclusive", expected=expected, seen=seen)
    return judged("behaviour", "behaviour", agree, expected=expected, seen=_seen(behaviour))


def _seen(behaviour: Behaviour) -> str:
    seen = (
        f"{behaviour.exact_share:.0%} of {len(behaviour.differences)} answers exact, log-probabilities off by {behaviour.mean_nats:.4f} "
        f"(mean) and {behaviour.max_nats:.4f} (max) nats, {behaviour.valid_now} valid ({behaviour.valid_before} before)"
    )
    shift = behaviour.shift
    if shift is not None and shift.positions:
        seen += f"; distributions off by {shift.mean_nats:.4f} (mean) and {shift.max_nats:.4f} (max) nats over {shift.positions} positions"
    reread = [probe.name for probe in behaviour.probes if probe.reread]
    return seen + (f"; {len(reread)} of the prompts are read as other tokens ({reread[0]}, …)" if reread else "")
