"""What the hub's refusals mean to us; shared by the hub block and by the fetch program on the nodes, and light."""

from __future__ import annotations

from blocks.errors import HubRejected, HubUnreachable, PipelineError
from blocks.hub.waits import Headers

#: What the hub says of a token that it does not know, also where the repository is public.
_BAD_TOKEN = "Invalid credentials"  # noqa: S105  # words of a message, not a token


def unreachable(exc: BaseException, endpoint: str) -> PipelineError:
    """The error that says that no answer came."""
    return HubUnreachable(f"The hub {endpoint} cannot be reached ({type(exc).__name__}); check its address and the network.")


def refusal(
    status: int, headers: Headers, endpoint: str, repository: str, revision: str, *, has_token: bool, file: str | None = None
) -> PipelineError:
    """The error that says what an answer of 400 or more means, and what to do about it.

    The hub tells by headers (`X-Error-Code`, `X-Error-Message`); its body is not needed, and may be as long as its sender likes.

    Args:
        status: HTTP status.
        headers: The answer's headers.
        endpoint: The hub's address.
        repository: What was asked about.
        revision: Which revision of it.
        has_token: Whether a token was sent.
        file: The file that was asked for, if it was one.
    """
    code, said = headers.get("X-Error-Code") or "", headers.get("X-Error-Message") or ""
    if code == "GatedRepo":
        what = "its token has not been granted access" if has_token else "no token is set"
        return HubRejected(
            f"{repository} is gated and {what}: accept its terms on {endpoint}/{repository} and set that account's token in the hub block."
        )
    if code == "RevisionNotFound":
        return HubRejected(f"{repository} has no revision {revision!r}: give a branch, a tag or a commit that exists.")
    if code == "EntryNotFound" and file is not None:
        return HubRejected(f"{repository} has no file {file} at {revision!r}, although the hub {endpoint} lists it; use another revision.")
    # The hub says the same of a private repository that the token may not see, and to strangers with the status alone.
    if code == "RepoNotFound" or (status == 401 and _BAD_TOKEN not in said and not has_token):
        hint = "check the name" if has_token else "check the name, or set a token in the hub block if it is private"
        return HubRejected(f"The hub {endpoint} has no repository {repository!r}: {hint}.")
    if said == "Access to this resource is disabled.":
        return HubRejected(f"{repository} is disabled on the hub {endpoint}.")
    if status == 401:
        return HubRejected(f"The hub {endpoint} does not accept the token of the hub block (HTTP 401): set a valid one.")
    if status == 407:
        return HubRejected(f"The proxy before the hub {endpoint} wants another user or password (HTTP 407): correct the proxy's address.")
    if status < 500 and status not in (408, 425, 429):
        return HubRejected(f"The hub {endpoint} refused {f'{file} of ' if file else ''}{repository} at {revision!r}: HTTP {status}.")
    return HubUnreachable(f"The hub {endpoint} answered HTTP {status}; try again later.")
