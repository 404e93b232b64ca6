"""Who must agree before a candidate is deployed somewhere: the environment's policy, and the people of `deployments/approvers.yaml`."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

from flows.spec.types import STRICT, DnsLabel, EnvironmentName

#: Where the check of a cron expression begins; any day does.
_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)

Hours = Annotated[float, Field(gt=0, le=24 * 365)]


def _cron(expression: str) -> str:
    try:
        CronSim(expression, _SOME_DAY)
    except CronSimError as exc:
        raise ValueError("must be a cron expression of five fields, for example '0 16 * * 5'") from exc
    return expression


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    # Unknown; a path out of the database; one of its folders, such as `Europe`.
    except (KeyError, ValueError, OSError) as exc:
        raise ValueError("must be a time zone of the IANA database, for example Europe/Zurich") from exc
    return name


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """A recurring time in which no release enters the environment.

    Attributes:
        begins: When it begins: a cron expression of five fields (minute, hour, day, month, weekday).
        hours: How long it lasts.
        timezone: The time zone in which `begins` is meant (IANA name).
        reason: Why, for those who wait.
    """

    __pydantic_config__ = STRICT

    begins: Annotated[str, AfterValidator(_cron)]
    hours: Hours
    timezone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ApprovalPolicy:
    """Whether and how people must agree before a candidate is deployed here.

    Attributes:
        required: Whether anybody must.
        approvals: How many different approvers.
        roles: An approver must have one of these roles.
        requester_may_approve: Whether who asked for the release may be one of them.
        approval_hours: How long an approval holds after it was given.
        request_hours: How long a release waits for its approvals before it ends.
        verdict_hours: How old the verdict of the environment before may be when the release goes on.
        freezes: Times in which an approved release waits; an emergency approval by two approvers passes.
    """

    __pydantic_config__ = STRICT

    required: bool = False
    approvals: Annotated[int, Field(ge=1, le=10)] = 1
    roles: Annotated[tuple[DnsLabel, ...], Field(min_length=1)] = ("release-manager",)
    requester_may_approve: bool = False
    approval_hours: Hours = 24.0
    request_hours: Hours = 72.0
    verdict_hours: Hours = 168.0
    freezes: tuple[Freeze, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Approver:
    """Somebody who may approve.

    Attributes:
        name: How the approver signs; also the name of the authenticator's secret.
        roles: What the approver may do.
        environments: Where.
        aliases: Other names of the same person (login, e-mail address): who asked for a release under one of them is its requester.
    """

    __pydantic_config__ = STRICT

    name: DnsLabel
    roles: Annotated[tuple[DnsLabel, ...], Field(min_length=1)]
    environments: Annotated[tuple[EnvironmentName, ...], Field(min_length=1)]
    aliases: tuple[str, ...] = ()

    def is_called(self, name: str) -> bool:
        """Whether that is one of the approver's names; case and white space around it do not count."""
        return plain_name(name) in {plain_name(own) for own in (self.name, *self.aliases)}


@dataclass(frozen=True, kw_only=True)
class Approvers:
    """All approvers. No two of them share a name or an alias."""

    __pydantic_config__ = STRICT

    approvers: tuple[Approver, ...] = ()

    def find(self, name: str) -> Approver | None:
        """The approver who signs with that name, to the letter; aliases do not sign."""
        return next((approver for approver in self.approvers if approver.name == name), None)

    def called(self, name: str) -> Approver | None:
        """The approver of whom that is any name."""
        return next((approver for approver in self.approvers if approver.is_called(name)), None)

    def signed_in(self, name: str) -> Approver | None:
        """The approver who is signed in under that name, which is one of theirs by the letter (`same_name`)."""
        return next((approver for approver in self.approvers if same_name(name, (approver.name, *approver.aliases))), None)


def same_name(name: str, known: Iterable[str]) -> bool:
    """Whether somebody of that name is one of those: what gives rights goes by the letter, but for outer white space and the case of ASCII.

    (`plain_name` is for what takes rights away: it folds `ſ` and `s`, and a provider may let two people have these names.)
    """
    return _letters(name) in map(_letters, known)


def _letters(name: str) -> str:
    text = unicodedata.normalize("NFC", name).strip()
    return text.lower() if text.isascii() else text


def plain_name(name: str) -> str:
    """A name as it is compared: compatibility forms of letters folded, no case, no outer white space."""
    return unicodedata.normalize("NFKC", name).casefold().strip()
