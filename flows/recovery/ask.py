"""The form that asks people what becomes of an environment in which a release failed, and the page above it."""

from __future__ import annotations

from enum import StrEnum

from prefect.input import RunInput
from pydantic import Field

from blocks.facts.registry import Failure
from flows.spec import Candidate, Environment
from flows.text.markdown import Markdown, code, md, page


class Choice(StrEnum):
    """What may become of an environment in which a release failed."""

    GO_BACK = "go-back"
    LEAVE = "leave"


class RecoveryForm(RunInput):
    """The form that decides what becomes of an environment in which a release failed."""

    # Positions for the reason that `flows.approval.form` has.
    decision: Choice = Field(
        description="Go back to the candidate that served before, or leave everything as it is.", json_schema_extra={"position": 0}
    )
    actor: str = Field(min_length=2, max_length=100, description="Who decides; kept in the registry.", json_schema_extra={"position": 1})
    reason: str = Field(min_length=3, max_length=2000, description="Why; kept in the registry.", json_schema_extra={"position": 2})


def recovery_page(candidate: Candidate, environment: Environment, failure: Failure) -> Markdown:
    """What is read above the form that asks whether to go back."""
    before = failure.replaces or ""
    return page(
        md("## {} failed in {}: go back?", candidate.model, environment.name),
        md(""),
        md("Candidate {} does not serve there: {}", code(candidate.short), failure.reason),
        md(""),
        md(
            "*go-back* brings back candidate {}, verifies it, and routes to it again; its weights are on the nodes. *leave* "
            "changes nothing: nothing is routed there until somebody releases or rolls back.",
            code(before[:12]),
        ),
    )
