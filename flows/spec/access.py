"""Who may see and do what in the console: the grants of `deployments/access.yaml`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from flows.errors import SpecInvalid
from flows.spec.approval import same_name
from flows.spec.types import STRICT

#: What somebody may do, each also what those before it may.
Role = Literal["viewer", "operator", "admin"]

#: All roles, the least first.
ROLES: tuple[Role, ...] = get_args(Role)

#: A name, or the beginning of one and a star.
Pattern = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,95})?\*?$", min_length=1)]

#: As long as the flows take a requester's and an actor's name.
Name = Annotated[str, StringConstraints(min_length=2, max_length=100)]

Group = Annotated[str, StringConstraints(min_length=1, max_length=200)]


@dataclass(frozen=True, kw_only=True)
class Grant:
    """A role for some people, somewhere.

    Attributes:
        role: What they may do: look (`viewer`), start and stop things (`operator`), or also look after tokens and the record (`admin`).
        people: Names, as the sign-in gives them.
        groups: Groups, as the sign-in lists them; `*` is everybody who can sign in.
        models: Names of models, or beginnings of names and a star.
        environments: The same of environments.
    """

    __pydantic_config__ = STRICT

    role: Role
    people: tuple[Name, ...] = ()
    groups: tuple[Group, ...] = ()
    models: Annotated[tuple[Pattern, ...], Field(min_length=1)] = ("*",)
    environments: Annotated[tuple[Pattern, ...], Field(min_length=1)] = ("*",)

    def covers(self, model: str, environment: str) -> bool:
        """Whether it holds for the model in the environment."""
        return self.covers_model(model) and self.covers_environment(environment)

    def covers_model(self, model: str) -> bool:
        """Whether it holds for the model in some environment."""
        return any(_fits(pattern, model) for pattern in self.models)

    def covers_environment(self, environment: str) -> bool:
        """Whether it holds in the environment for some model."""
        return any(_fits(pattern, environment) for pattern in self.environments)

    def is_everywhere(self) -> bool:
        """Whether it holds for all there is."""
        return "*" in self.models and "*" in self.environments

    def is_for(self, name: str, groups: Iterable[str]) -> bool:
        """Whether it is theirs. Only the case of plain letters does not count: what merely looks alike may be another's name."""
        return same_name(name, self.people) or "*" in self.groups or not set(self.groups).isdisjoint(groups)


@dataclass(frozen=True, kw_only=True)
class Access:
    """All grants; nobody may do anything that none of them says."""

    __pydantic_config__ = STRICT

    grants: tuple[Grant, ...] = ()

    def of(self, name: str, groups: Iterable[str]) -> tuple[Grant, ...]:
        """The grants of somebody who is in these groups."""
        known = tuple(groups)
        return tuple(grant for grant in self.grants if grant.is_for(name, known))

    def groups(self) -> frozenset[str]:
        """The groups that any grant is for."""
        return frozenset(group for grant in self.grants for group in grant.groups)


def token_grant(role: str, models: Iterable[str], environments: Iterable[str], name: str) -> Grant:
    """The grant of a token, as somebody asks for it.

    Raises:
        SpecInvalid: It would be none; the message says what of it.
    """
    try:
        return _GRANT.validate_python({"role": role, "people": (name,), "models": tuple(models), "environments": tuple(environments)})
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        what = str(first["loc"][0]) if first["loc"] else "it"
        raise SpecInvalid(f"No token can have this {what.rstrip('s') if what != 'people' else 'name'}: {first['msg']}.") from None


_GRANT = TypeAdapter(Grant)


def _fits(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
