"""A model as `deployments/models/NAME.yaml` describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from flows.spec.candidate import EngineSettings
from flows.spec.types import STRICT, DnsLabel, ImageByDigest, ModelName, RepositoryName, Subfolder


@dataclass(frozen=True, kw_only=True)
class Model:
    """What to serve, and with which image and settings.

    Attributes:
        name: What clients send as `model`; also the file's name.
        repository: The hub repository that it comes from.
        subfolder: The folder of the repository that holds the model, where it is not the top.
        image: vLLM's container image, by digest.
        engine: How vLLM is started.
        checks: The suite of `deployments/checks` that it must pass.
        allow_remote_code: Whether vLLM may run code that lies in the repository.
        concurrency: Requests of full length (`engine.max_model_len`) whose KV cache must fit at once.
        kv_bytes_per_token: Bytes of KV cache that one token takes on each GPU; for models whose configuration does not tell it.
        kv_bytes_per_request: Bytes that a request takes on each GPU beside those, however long it is: states and windows.
        description: A line for people.
    """

    __pydantic_config__ = STRICT

    name: ModelName
    repository: RepositoryName
    image: ImageByDigest
    engine: EngineSettings
    checks: DnsLabel = "smoke"
    subfolder: Subfolder = ""
    allow_remote_code: bool = False
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 1
    kv_bytes_per_token: Annotated[int, Field(ge=1)] | None = None
    kv_bytes_per_request: Annotated[int, Field(ge=1)] | None = None
    description: str = ""
