"""A model as `deployments/models/NAME.yaml` describes it."""

from __future__ import annotations

from dataclasses import dataclass

from flows.spec.candidate import EngineSettings
from flows.spec.types import STRICT, DnsLabel, ImageByDigest, ModelName, RepositoryName


@dataclass(frozen=True, kw_only=True)
class Model:
    """What to serve, and with which image and settings.

    Attributes:
        name: What clients send as `model`; also the file's name.
        repository: The hub repository that it comes from.
        image: vLLM's container image, by digest.
        engine: How vLLM is started.
        checks: The suite of `deployments/checks` that it must pass.
        description: A line for people.
    """

    __pydantic_config__ = STRICT

    name: ModelName
    repository: RepositoryName
    image: ImageByDigest
    engine: EngineSettings
    checks: DnsLabel = "smoke"
    description: str = ""
