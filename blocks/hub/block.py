"""The Prefect block of the hub."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator

from blocks.errors import HubRejected

if TYPE_CHECKING:
    from blocks.hub.client import HubClient


class Hub(Block):
    """The Hugging Face hub, or a mirror that speaks its protocol. Used for names and metadata; the weights go straight to the nodes."""

    _block_type_name = "Slipway hub"
    _block_type_slug = "slipway-hub"

    endpoint: str = Field(default="https://huggingface.co", description="Address of the hub; a mirror's may lie below a path.")
    token: SecretStr | None = Field(default=None, description="A read token, for gated and private repositories.")
    timeout_seconds: float = Field(default=20.0, gt=0, description="How long one request may take.")

    @field_validator("endpoint")
    @classmethod
    def _address(cls, endpoint: str) -> str:
        """The address without a slash at its end: nodes get it as it is here, and put paths behind it."""
        address = re.sub(r"/+$", "", endpoint.strip())
        try:
            parts = urlsplit(address)
            whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            whole = False
        if not whole or not re.fullmatch(r"[!-~]+", address) or set("?#\\") & set(address):
            raise ValueError("must be the address of a hub, as https://HOST or https://HOST/PATH")
        return address

    def client(self) -> HubClient:
        """A client for this hub.

        Raises:
            HubRejected: The token cannot be sent, or the address holds a password.
        """
        if "@" in urlsplit(self.endpoint).netloc:
            # Not when it is made: what pydantic says of a value holds the value.
            raise HubRejected(
                "The address of the hub block holds a user or a password, which nodes would get in the clear: take "
                "them out, and set the token."
            )
        # Not in runs that ask the hub nothing, such as a rollback.
        from blocks.hub.client import HubClient
        from blocks.hub.web import Web

        return HubClient(Web(self.endpoint, self.token.get_secret_value() if self.token else None, self.timeout_seconds))
