"""What requests to the API hold: each field bounded, nothing beside them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Header, Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from flows.spec.types import EnvironmentName, ModelName

#: A run, as Prefect writes its id.
RunId = Annotated[str, Path(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", description="The run's id.")]
ModelPath = Annotated[ModelName, Path(description="The model's name.")]
EnvironmentPath = Annotated[EnvironmentName, Path(description="The environment's name.")]

IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[A-Za-z0-9._:-]{8,150}$",
        description="Chosen by you, new for each request: sent again, the same request is done once and answered alike, for a day.",
    ),
]


def _plain(text: str) -> str:
    if any(not sign.isprintable() and sign not in "\n\t" for sign in text):
        raise ValueError("must hold no signs that cannot be seen")
    return text


def _code(code: SecretStr) -> SecretStr:
    if not (code.get_secret_value().isascii() and code.get_secret_value().isprintable()):
        raise ValueError("must be what an authenticator shows")
    return code


#: Why somebody does something: text for people.
Reason = Annotated[str, StringConstraints(min_length=3, max_length=2000, strip_whitespace=True), AfterValidator(_plain)]
Revision = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/+-]*$")]


class Asked(BaseModel):
    """A body of a request."""

    model_config = ConfigDict(extra="forbid")


class PlanAsked(Asked):
    """A plan that is asked for."""

    model: ModelName = Field(description="A model of deployments/models.")
    revision: Revision = Field(default="main", description="Branch, tag or commit on the hub.")
    environments: list[EnvironmentName] = Field(default=[], max_length=20, description="Where to; all of them if empty.")


class ReleaseAsked(PlanAsked):
    """A release that is asked for. Who asks is who is signed in."""

    keep_failed: bool = Field(default=False, description="Leave what failed for inspection, where nothing served before.")


class RollbackAsked(Asked):
    """A rollback that is asked for."""

    model: ModelName
    environment: EnvironmentName
    reason: Reason = Field(description="Why; kept in the registry.")
    to: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12,64}$")] | None = Field(
        default=None, description="Fingerprint to go back to; the last verified one before if left out."
    )


class Answer(Asked):
    """The answer to a request for approval."""

    decision: Literal["approve", "reject", "approve-emergency"]
    gate: str = Field(min_length=1, max_length=100, description="The request's `gate` as it was shown: the answer is for nothing else.")
    code: Annotated[SecretStr, AfterValidator(_code)] = Field(min_length=6, max_length=20, description="What your authenticator shows now.")
    reason: Annotated[str, StringConstraints(max_length=2000, strip_whitespace=True), AfterValidator(_plain)] = Field(
        default="", description="Why; a rejection and an emergency need one."
    )


class Switched(Asked):
    """Why a model is taken out or put back."""

    reason: Reason = Field(description="Why; routers tell it to their callers.")
