"""The error of a failure is what it was, after the run that it ended was lost."""

from __future__ import annotations

import pytest

from blocks.errors import PipelineError
from blocks.facts.registry import Failure
from flows.errors import ERRORS
from flows.recovery.recover import recalled


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("version", ["this", "older"])
def test_an_error_comes_back_with_its_kind_and_its_sentence(name: str, version: str) -> None:
    error = recalled(Failure(reason=f"{name}: tiny: it is full.", error=name if version == "this" else None))

    assert (type(error), error.message) == (ERRORS[name], "tiny: it is full.")


@pytest.mark.parametrize(
    "failure",
    [
        Failure(reason="Cancelled: its run was cancelled"),
        Failure(reason="Sequence: no error at all"),
        Failure(reason="Unknown: of a newer version", error="Unknown"),
        Failure(reason="no kind"),
    ],
)
def test_what_is_no_error_of_ours_keeps_its_whole_reason(failure: Failure) -> None:
    error = recalled(failure)

    assert (type(error), error.message) == (PipelineError, failure.reason)


def test_the_kind_is_what_the_record_says_and_not_what_the_sentence_looks_like() -> None:
    error = recalled(Failure(reason="HelmRejected: the chart is wrong", error="GitRejected"))

    assert (type(error).__name__, error.message) == ("GitRejected", "HelmRejected: the chart is wrong")
