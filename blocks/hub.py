"""The Hugging Face hub: what a revision is, and which files it has. Bytes are fetched on the nodes (`flows.prefetch_job`)."""

from __future__ import annotations

from typing import Self

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile
from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.errors import HubRejected
from blocks.facts import HubCommit, HubFile
from blocks.hub_errors import HUB_FAULTS, hub_error


class Hub(Block):
    """The Hugging Face hub, or a mirror that speaks its protocol. Used for names and metadata; the weights go straight to the nodes."""

    _block_type_name = "Slipway hub"
    _block_type_slug = "slipway-hub"

    endpoint: str = Field(default="https://huggingface.co", description="Address of the hub.", pattern=r"^https?://[^/]+$")
    token: SecretStr | None = Field(default=None, description="A read token, for gated and private repositories.")
    timeout_seconds: float = Field(default=20.0, gt=0, description="How long one request may take.")

    def client(self) -> HubClient:
        """A client for this hub."""
        return HubClient(self)


class HubClient:
    """Reads metadata from the hub. Costs two requests per commit, and one more for gated repositories."""

    def __init__(self, block: Hub) -> None:
        token = block.token.get_secret_value() if block.token else False
        self._api = HfApi(endpoint=block.endpoint, token=token, library_name="slipway")
        self._endpoint = block.endpoint
        self._has_token = block.token is not None
        self._timeout_seconds = block.timeout_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def commit(self, repository: str, revision: str) -> HubCommit:
        """Resolve a revision (branch, tag or commit) and list the files of its commit.

        Raises:
            HubRejected: The repository or revision does not exist, or may not be read.
            HubUnreachable: The hub did not answer.
        """
        try:
            info = self._api.model_info(repository, revision=revision, timeout=self._timeout_seconds)
            if info.gated:
                self._api.auth_check(repository)
            if info.sha is None:
                raise HubRejected(f"The hub {self._endpoint} names no commit for {repository} at {revision!r}; it may not be a hub.")
            entries = list(self._api.list_repo_tree(repository, revision=info.sha, recursive=True))
        except HUB_FAULTS as exc:
            raise hub_error(exc, self._endpoint, repository, revision, has_token=self._has_token) from exc
        card = info.card_data
        return HubCommit(
            repository=repository,
            commit=info.sha,
            files=tuple(_file(entry) for entry in entries if isinstance(entry, RepoFile)),
            licence=str(card.license) if card is not None and card.get("license") else None,
        )


def _file(entry: RepoFile) -> HubFile:
    if entry.lfs is not None:
        return HubFile(path=entry.path, size_bytes=entry.size, digest=entry.lfs.sha256, algorithm="sha256")
    return HubFile(path=entry.path, size_bytes=entry.size, digest=entry.blob_id, algorithm="git-sha1")
