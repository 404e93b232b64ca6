"""Who asks, and what they may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from flows.spec.access import ROLES, Grant, Role

#: How somebody is known: by a session that they signed in for, by a proxy's word, or by a token.
How = Literal["session", "proxy", "token"]


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Somebody, or a machine, whose request this is.

    Attributes:
        name: As the provider, the proxy or the token says; it is what is recorded as requester and actor.
        how: How that is known.
        grants: The roles that they have, and where.
        csrf: What a form of theirs must bring along; empty for a token, which no browser sends by itself.
        label: Of a token, what it is called.
    """

    name: str
    how: How
    grants: tuple[Grant, ...]
    csrf: str = ""
    label: str = ""

    def may(self, role: Role, model: str, environment: str) -> bool:
        """Whether they have this role, or a higher one, for the model in the environment."""
        return any(ROLES.index(grant.role) >= ROLES.index(role) and grant.covers(model, environment) for grant in self.grants)

    def sees(self, model: str, environment: str) -> bool:
        """Whether they may look at the model in the environment."""
        return self.may("viewer", model, environment)

    def is_admin(self) -> bool:
        """Whether they are administrators of everything: of tokens, and of the record as a whole."""
        return any(grant.role == "admin" and grant.is_everywhere() for grant in self.grants)

    def summary(self) -> Mapping[str, object]:
        """Who they are and what they may, as the API tells it."""
        grants = [{"role": grant.role, "models": grant.models, "environments": grant.environments} for grant in self.grants]
        return {"name": self.name, "how": self.how, "grants": grants}
