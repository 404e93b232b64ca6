"""What Slipway refuses: our own no. A refusal fails the run; a technical fault (`blocks.errors`) makes it errored.

PipelineError
└── Refusal
    ├── SpecInvalid                 a file or a parameter is wrong
    ├── DoesNotFit                  the model does not fit where it is to run
    ├── PromotionRefused            a gate before the next environment is shut
    ├── VerificationFailed          the checks said no
    ├── VerificationInconclusive    the checks could not tell
    ├── ApprovalDenied              a person said no
    ├── ApprovalExpired             nobody said anything in time
    ├── Drifted                     something is not as it was recorded
    ├── CanaryHarmful               live traffic showed that a candidate is worse than what serves
    ├── CanaryInconclusive          live traffic could not tell
    ├── CanaryAborted               a person ended a canary
    ├── ReleaseUnderWay             another run changes the model there
    └── NothingToRollBackTo         no earlier verified release is known
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from blocks.errors import PipelineError


class Refusal(PipelineError):
    """Our own no; retrying cannot help."""


class SpecInvalid(Refusal):
    """A file or a parameter is wrong; the message names it and says what is expected."""


class DoesNotFit(Refusal):
    """The model does not fit where it is to run; the message has the numbers."""


class PromotionRefused(Refusal):
    """A gate before the next environment is shut."""


class VerificationFailed(Refusal):
    """The checks said no."""


class VerificationInconclusive(Refusal):
    """The checks could not tell."""


class ApprovalDenied(Refusal):
    """A person said no."""


class ApprovalExpired(Refusal):
    """Nobody said anything in time."""


class Drifted(Refusal):
    """Git, Argo CD or the cluster is not as it was recorded; the message says what to do."""


class CanaryHarmful(Refusal):
    """Live traffic showed that a candidate is worse than what serves."""


class CanaryInconclusive(Refusal):
    """Live traffic could not tell whether a candidate is worse than what serves."""


class CanaryAborted(Refusal):
    """A person ended a canary."""


class ReleaseUnderWay(Refusal):
    """Another run changes the model in the environment, or took over from this one."""


class NothingToRollBackTo(Refusal):
    """No earlier verified release is known for the environment."""


def _family(kind: type[PipelineError]) -> Iterator[type[PipelineError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)


#: Every error by its name, which is what the registry keeps of an error's kind. All are of this file and of `blocks.errors`.
ERRORS: Mapping[str, type[PipelineError]] = {kind.__name__: kind for kind in _family(PipelineError)}


def with_sentence(error: PipelineError, more: str) -> PipelineError:
    """The same error with another sentence behind its own; of the same class, since that is the state in which a run ends."""
    longer = type(error)(f"{error.message} {more}", **error.facts)
    longer.untouched = error.untouched
    longer.__cause__ = error
    return longer


def raise_first(refusals: Sequence[Refusal], model: str) -> None:
    """Raise the first of the refusals, if there is one, with the number of the others.

    Args:
        refusals: The refusals.
        model: The model's name, for the command that shows the others.
    """
    if not refusals:
        return
    first, more = refusals[0], len(refusals) - 1
    if more:
        # The class decides the run's state and the command's exit code.
        raise type(first)(f"{first.message} ({more} more refusal(s): slipway plan {model} shows them.)", **first.facts)
    raise first


def worst_of(errors: Sequence[PipelineError]) -> PipelineError | None:
    """One error for all of them: of the first one's class, its sentence first, all others named behind it; none if there is none.

    Args:
        errors: The errors, the worst first: its class decides the run's state and the command's exit code.
    """
    if len(errors) < 2:
        return next(iter(errors), None)
    others = dict.fromkeys(error.message for error in errors[1:])
    return with_sentence(errors[0], f"Also: {' '.join(others)}")
