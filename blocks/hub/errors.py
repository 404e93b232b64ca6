"""What the hub client's errors mean to us; shared by the hub block and by the fetch program on the nodes, which loads no Prefect."""

from __future__ import annotations

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from blocks.errors import HubRejected, HubUnreachable, PipelineError

#: Everything that the hub client was seen to raise.
HUB_FAULTS = (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError)


def hub_error(exc: BaseException, endpoint: str, repository: str, revision: str, *, has_token: bool) -> PipelineError:
    """The error of our own that says what the hub client's error means, and what to do about it."""
    if isinstance(exc, LocalEntryNotFoundError) and exc.__cause__ is not None:
        return hub_error(exc.__cause__, endpoint, repository, revision, has_token=has_token)  # the client wraps some of its own
    # Before RepositoryNotFoundError, of which it is a kind.
    if isinstance(exc, GatedRepoError):
        what = "its token has not been granted access" if has_token else "no token is set"
        return HubRejected(
            f"{repository} is gated and {what}: accept its terms on {endpoint}/{repository} and set that account's token in the hub block."
        )
    # The hub says the same of a private repository that the token may not see.
    if isinstance(exc, RepositoryNotFoundError):
        hint = "check the name" if has_token else "check the name, or set a token in the hub block if it is private"
        return HubRejected(f"The hub {endpoint} has no repository {repository!r}: {hint}.")
    if isinstance(exc, RevisionNotFoundError):
        return HubRejected(f"{repository} has no revision {revision!r}: give a branch, a tag or a commit that exists.")
    if isinstance(exc, DisabledRepoError):
        return HubRejected(f"{repository} is disabled on the hub {endpoint}.")
    if isinstance(exc, HFValidationError):
        return HubRejected(f"{repository!r} is not a repository name: give organisation/name.")
    if isinstance(exc, HfHubHTTPError):
        status = exc.response.status_code
        if status == 401:
            return HubRejected(f"The hub {endpoint} does not accept the token of the hub block (HTTP 401): set a valid one.")
        if status < 500 and status not in (408, 429):
            return HubRejected(f"The hub {endpoint} refused {repository} at {revision!r}: HTTP {status}.")
        return HubUnreachable(f"The hub {endpoint} answered HTTP {status}; try again later.")
    return HubUnreachable(f"The hub {endpoint} cannot be reached ({type(exc).__name__}); check its address and the network.")
