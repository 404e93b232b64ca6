"""The commands of those who look after tokens of the console: token create, list, revoke."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from blocks.facts.kinds import EventKind
from flows.cli.output import say, say_exactly, say_json
from flows.cli.shared import AsJson, open_registry
from flows.errors import SpecInvalid

token_app = typer.Typer(help="Tokens by which machines, and people at a command line, ask the console.", no_args_is_help=True)

#: A token does not outlive a year: who needs it makes another.
_MOST_DAYS = 366

Actor = Annotated[str | None, typer.Option("--as", help="Who does it; your login name if left out.")]


@token_app.command()
def create(
    label: Annotated[str, typer.Argument(help="What it is for, such as the name of a pipeline.")],
    role: Annotated[str, typer.Option(help="viewer, operator or admin.")] = "viewer",
    model: Annotated[list[str] | None, typer.Option(help="Only this model, or names that begin so (tiny-*); may be repeated.")] = None,
    environment: Annotated[list[str] | None, typer.Option(help="Only this environment; may be repeated.")] = None,
    whose: Annotated[str | None, typer.Option("--for", help="Whose requests they are, as recorded; the label if left out.")] = None,
    days: Annotated[int, typer.Option(min=1, max=_MOST_DAYS, help="How long it holds.")] = 90,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it: nobody can be told it again."""
    from flows.console.access.tokens import new_token
    from flows.spec.access import token_grant

    who = actor or getpass.getuser()
    grant = token_grant(role, model or ["*"], environment or ["*"], whose or label)
    if not label.strip() or len(label) > 100 or not label.isprintable():
        raise SpecInvalid(f"The label {label[:100]!r} cannot be one: it must be 1 to 100 characters that can be seen.")
    made, until = new_token(), datetime.now(UTC) + timedelta(days=days)
    with open_registry() as registry:
        registry.access.add_token(
            id=made.id,
            secret_sha256=made.sha256,
            label=label,
            acts_as=grant.people[0],
            role=grant.role,
            models=grant.models,
            environments=grant.environments,
            created_by=who,
            expires_at=until,
        )
        what = {"role": grant.role, "models": list(grant.models), "environments": list(grant.environments), "for": grant.people[0]}
        detail = {"token": made.id, "label": label, "expires_at": until.isoformat(), **what}
        registry.events.add(EventKind.TOKEN_CREATED, actor=who, detail=detail, key=f"token-{made.id}")
    if as_json:
        say_json({"id": made.id, "token": made.secret, "expires_at": until.isoformat(), **what})
        return
    say_exactly(made.secret)
    say(f"Token {made.id} holds until {until:%Y-%m-%d}. It is not shown again: keep it in a file for SLIPWAY_TOKEN_FILE.", error=True)


@token_app.command(name="list")
def list_tokens(as_json: AsJson = False) -> None:
    """Show all tokens: what each may, until when it holds, when it was last used."""
    with open_registry() as registry:
        tokens = registry.access.tokens()
    now = datetime.now(UTC)
    if as_json:
        moments = ("created_at", "expires_at", "revoked_at", "last_used_at")
        say_json(
            [{name: value.isoformat() if name in moments and value else value for name, value in vars(token).items()} for token in tokens],
            indent=2,
        )
        return
    for token in tokens:
        state = "revoked" if token.revoked_at else "expired" if token.expires_at <= now else f"until {token.expires_at:%Y-%m-%d}"
        used = f"last used {token.last_used_at:%Y-%m-%d %H:%M}Z" if token.last_used_at else "never used"
        say(f"{token.id}  {token.label}: {token.role} of {', '.join(token.models)} in {', '.join(token.environments)}")
        say(f"    for {token.acts_as}, {state}, {used}, made by {token.created_by}")
    if not tokens:
        say("There are no tokens.")


@token_app.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as slipway token list shows it.")],
    actor: Actor = None,
) -> None:
    """Take a token out of use, from the next request on."""
    who = actor or getpass.getuser()
    with open_registry() as registry:
        if not registry.access.revoke_token(which, who):
            raise SpecInvalid(f"There is no token {which[:100]!r} in use: slipway token list shows them.")
        registry.events.add(
            EventKind.TOKEN_REVOKED, actor=actor or getpass.getuser(), detail={"token": which}, key=f"token-{which}-revoked"
        )
    say(f"Token {which} is revoked.")
