"""The results of health checks in Redis, for routers that would rather look there than wait for three bad checks. Optional."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.errors import HealthCacheRejected, HealthCacheUnreachable


@dataclass(frozen=True, kw_only=True)
class Result:
    """How an endpoint was when it was last looked at.

    Attributes:
        organisation: Whose.
        model: The name that clients send.
        environment: Where.
        endpoint: Host and port.
        fingerprint: The candidate that it should serve.
        trouble: What is wrong with it; None if it answers as it should.
    """

    organisation: str | None
    model: str
    environment: str
    endpoint: str
    fingerprint: str | None
    trouble: str | None

    @property
    def key(self) -> str:
        """Its key: `slipway:health:ORGANISATION:ENVIRONMENT:MODEL`."""
        return f"slipway:health:{self.organisation or ''}:{self.environment}:{self.model}"


class HealthCache(Block):
    """A Redis that holds the latest health checks for routers. Without one nothing else changes: the registry is the truth."""

    _block_type_name = "Slipway health cache"
    _block_type_slug = "slipway-health-cache"

    url: SecretStr = Field(title="URL", description="Such as rediss://user:password@host:6379/0.")
    timeout_seconds: float = Field(default=2.0, gt=0, description="How long Redis may take; a slow one is gone on without.")

    def publish(self, results: Iterable[Result], *, at: datetime, lifetime_seconds: float) -> None:
        """Set the results, each of which goes by itself after its lifetime.

        Raises:
            HealthCacheUnreachable: Redis did not answer.
            HealthCacheRejected: It refused, or its client is not installed.
        """
        try:
            import redis
        except ImportError as exc:
            raise HealthCacheRejected("the health cache needs the client of Redis: install slipway[redis]") from exc
        try:
            with redis.Redis.from_url(
                self.url.get_secret_value(), socket_timeout=self.timeout_seconds, socket_connect_timeout=self.timeout_seconds
            ) as client:
                # One round trip and no MULTI: each result stands for itself.
                pipeline = client.pipeline(transaction=False)
                for result in results:
                    pipeline.set(result.key, _told(result, at), px=round(lifetime_seconds * 1000))
                pipeline.execute()
        except (redis.ConnectionError, redis.TimeoutError) as exc:
            # redis-py counts it among the connection errors.
            if isinstance(exc, redis.AuthenticationError):
                raise HealthCacheRejected("the health cache refuses the password of its block") from exc
            raise HealthCacheUnreachable(f"the health cache cannot be reached ({type(exc).__name__})") from exc
        except (redis.RedisError, ValueError) as exc:
            # Not the client's text: what it says of a URL that it cannot read quotes it.
            raise HealthCacheRejected(f"the health cache refuses ({type(exc).__name__}): check the URL of its block") from None


def _told(result: Result, at: datetime) -> str:
    return json.dumps(
        {
            "endpoint": result.endpoint,
            "candidate": result.fingerprint,
            "healthy": result.trouble is None,
            "trouble": result.trouble,
            "checked_at": at.isoformat(),
        }
    )
