"""What the console remembers of those who ask it: tokens, sessions that were ended, answers to requests that may be sent again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.types.json import Jsonb

from blocks.facts.registry import Token
from blocks.registry.repeated import repeated
from blocks.registry.session import Session, change, row

#: A request that began this long ago and has no answer lost its process.
LOST_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A request that was begun before under the same key.

    Attributes:
        request_sha256: What was asked.
        status: What was answered; None while it is under way.
        body: The answer's.
    """

    request_sha256: str
    status: int | None
    body: Mapping[str, object] | None


@dataclass(frozen=True, kw_only=True)
class _Ended:
    ended: bool


class AccessRecord:
    """Tokens, ended sessions, and answers. Of a token and a session only the SHA-256 is known here."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add_token(
        self,
        *,
        id: str,  # the column's name
        secret_sha256: str,
        label: str,
        acts_as: str,
        role: str,
        models: Sequence[str],
        environments: Sequence[str],
        created_by: str,
        expires_at: datetime,
    ) -> None:
        """Keep a new token.

        Args:
            id: What it is called where it is looked after.
            secret_sha256: Of the token itself.
            label: What it is for.
            acts_as: Whose requests they are.
            role: `viewer`, `operator` or `admin`.
            models: Names, or beginnings of names and a star.
            environments: The same.
            created_by: Who made it.
            expires_at: Until when it holds.
        """
        self._session.change(
            "add_token",
            {
                "id": id,
                "secret_sha256": secret_sha256,
                "label": label,
                "acts_as": acts_as,
                "role": role,
                "models": list(models),
                "environments": list(environments),
                "created_by": created_by,
                "expires_at": expires_at,
            },
        )

    def tokens(self) -> list[Token]:
        """All tokens, the newest first."""
        return self._session.rows("tokens", Token, {})

    def token(self, secret_sha256: str) -> Token | None:
        """The token of that hash, if it holds now; its use is noted, to ten minutes."""
        found = self._session.row("token", Token, {"secret_sha256": secret_sha256})
        if found is not None:
            self._session.change("use_token", {"id": found.id})
        return found

    def revoke_token(self, id: str, actor: str) -> bool:
        """Take a token out of use; whether there was one to take."""
        return bool(self._session.change("revoke_token", {"id": id, "actor": actor}))

    def end_session(self, session_sha256: str, forget_at: datetime) -> None:
        """Remember that somebody signed out, until the session would have ended anyway."""
        self._session.change("end_session", {"session_sha256": session_sha256, "forget_at": forget_at})

    def is_ended(self, session_sha256: str) -> bool:
        """Whether somebody signed out of the session."""
        found = self._session.row("ended_session", _Ended, {"session_sha256": session_sha256})
        return found is None or found.ended

    @repeated
    def begin_answer(self, caller: str, key: str, request_sha256: str) -> Answered | None:
        """Begin a request; None if it is the first of its key, or the one before was lost. Else what came of that one.

        Of several at once one begins.
        """
        names = {"caller": caller, "key": key}
        with self._session.transaction() as connection:
            change(connection, "forget", {})
            if change(connection, "begin_answer", {**names, "request_sha256": request_sha256, "lost_after": LOST_AFTER}):
                return None
            return row(connection, "answer_of", Answered, names)

    def keep_answer(self, caller: str, key: str, status: int, body: Mapping[str, object]) -> None:
        """Keep what a request that was begun was answered, for a day."""
        self._session.change("keep_answer", {"caller": caller, "key": key, "status": status, "body": Jsonb(body)})

    def drop_answer(self, caller: str, key: str) -> None:
        """Let the request be sent again at once: it came to nothing."""
        self._session.change("drop_answer", {"caller": caller, "key": key})
