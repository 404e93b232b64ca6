"""What the hub's refusals mean to us; shared by the hub block and by the fetch program on the nodes."""

from __future__ import annotations

import ssl

import httpx2

from blocks.errors import HubRejected, HubUnreachable, PipelineError
from blocks.hub.waits import Headers

#: What the hub says of a token that it does not know, also where the repository is public.
_BAD_TOKEN = "Invalid credentials"  # noqa: S105  # words of a message, not a token


def unreachable(exc: BaseException, endpoint: str) -> PipelineError:
    """The error that says why no answer came."""
    if isinstance(exc, httpx2.ProxyError):
        return _of_proxy(str(exc)[:3], endpoint)
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return HubRejected(
                f"The certificate of the hub {endpoint}, or of where it leads, is not trusted ({cause.verify_message}): give the authority "
                "that signed it in SSL_CERT_FILE."
            )
        cause = cause.__cause__ or cause.__context__
    return HubUnreachable(f"The hub {endpoint} cannot be reached ({type(exc).__name__}); check its address and the network.")


def refusal(
    status: int, headers: Headers, endpoint: str, repository: str, revision: str, *, has_token: bool, holder: str, file: str | None = None
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
        holder: What holds the token: `the hub block`.
        file: The file that was asked for, if it was one.
    """
    code, said = headers.get("X-Error-Code") or "", headers.get("X-Error-Message") or ""
    if code == "GatedRepo":
        what = "its token has not been granted access" if has_token else "no token is set"
        return HubRejected(
            f"{repository} is gated and {what}: accept its terms on {endpoint}/{repository} and set that account's token in {holder}."
        )
    if code == "RevisionNotFound":
        return HubRejected(f"{repository} has no revision {revision!r}: give a branch, a tag or all 40 digits of a commit.")
    if code == "EntryNotFound" and file is not None:
        return HubRejected(f"{repository} has no file {file} at {revision!r}, although the hub {endpoint} lists it; use another revision.")
    # The hub says the same of a private repository that the token may not see, and to strangers with the status alone.
    if code == "RepoNotFound" or (status == 401 and _BAD_TOKEN not in said and not has_token):
        hint = "check the name" if has_token else f"check the name, or set a token in {holder} if it is private"
        return HubRejected(f"The hub {endpoint} has no repository {repository!r}: {hint}.")
    if said == "Access to this resource is disabled.":
        return HubRejected(f"{repository} is disabled on the hub {endpoint}.")
    if status == 401:
        return HubRejected(f"The hub {endpoint} does not accept the token of {holder} (HTTP 401): set a valid one.")
    if status == 407:
        return _of_proxy("407", endpoint)
    if status < 500 and status not in (408, 425, 429):
        what = f"{file} of {repository}" if file else repository
        return HubRejected(
            f"The hub {endpoint} refused {what} at {revision!r}: HTTP {status}; check the name, and what its token may read.", status=status
        )
    return HubUnreachable(f"The hub {endpoint} answered HTTP {status} for {repository}; try again later.")


def _of_proxy(status: str, endpoint: str) -> PipelineError:
    """What a proxy of the environment said, which let nothing through to the hub."""
    if status == "407":
        return HubRejected(f"The proxy before the hub {endpoint} wants another user or password (HTTP 407): correct the proxy's address.")
    if status.startswith("4") and status.isdecimal() and status not in ("408", "425", "429"):
        return HubRejected(
            f"The proxy before the hub {endpoint} refuses to lead there (HTTP {status}): have the hub and its CDN allowed, or set no_proxy."
        )
    said = f"answered HTTP {status}" if status.isdecimal() else "cannot be used"
    return HubUnreachable(f"The proxy before the hub {endpoint} {said}; check the proxy's address and the network.")
