"""What a run remembers between a rollout and its verdict: a verification that is tried again begins where its first attempt did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from blocks.facts import Pod
from flows.verification.measurement import Measurement, judged


@dataclass(kw_only=True)
class Attempts:
    """The attempts at one verification. The run keeps them, so that an engine that died between two of them is not forgotten.

    Attributes:
        pods: The candidate's pods as the rollout left them; none until they were looked at.
        ended: What ended each attempt that came to no verdict.
    """

    pods: tuple[Pod, ...] = ()
    ended: list[str] = field(default_factory=list)

    def begin(self, pods: Sequence[Pod]) -> None:
        """Note the pods that everything later is compared with, unless that is known already."""
        self.pods = self.pods or tuple(pods)


def check_attempts(attempts: Attempts) -> list[Measurement]:
    """Tells of the attempts before this one; they alone fail nothing, since what is between here and there may be to blame."""
    if not attempts.ended:
        return []
    seen = f"{len(attempts.ended)} attempt(s) before this one came to no verdict: {'; '.join(attempts.ended)}"
    return [judged("attempts", "stability", True, expected="an endpoint that can be asked", seen=seen)]
