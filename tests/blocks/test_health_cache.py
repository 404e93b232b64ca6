"""What routers find in Redis, and what is said when it is not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from blocks.errors import HealthCacheRejected, HealthCacheUnreachable, PipelineError
from blocks.health_cache import HealthCache, Result
from tests.support.redis_server import PASSWORD, redis_url

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WELL = Result(organisation=None, model="tiny", environment="production", endpoint="tiny:8000", fingerprint="f" * 64, trouble=None)
ILL = Result(organisation="ours", model="nano", environment="staging", endpoint="nano:8000", fingerprint=None, trouble="it hangs")


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with redis_url(tmp_path) as url:
        yield url


def test_results_are_there_for_their_lifetime(url: str) -> None:
    cache = HealthCache(url=SecretStr(url))
    cache.publish([ILL], at=NOON, lifetime_seconds=0.01)
    cache.publish([WELL, ILL], at=NOON, lifetime_seconds=120)

    with redis.Redis.from_url(url, decode_responses=True) as client:
        found = {key: json.loads(client.get(key) or "null") for key in sorted(client.scan_iter())}
        left = [client.pttl(key) for key in found]
    assert found == {
        "slipway:health::production:tiny": {
            "endpoint": "tiny:8000",
            "candidate": "f" * 64,
            "healthy": True,
            "trouble": None,
            "checked_at": "2026-01-01T12:00:00+00:00",
        },
        "slipway:health:ours:staging:nano": {
            "endpoint": "nano:8000",
            "candidate": None,
            "healthy": False,
            "trouble": "it hangs",
            "checked_at": "2026-01-01T12:00:00+00:00",
        },
    }
    assert all(60_000 < milliseconds <= 120_000 for milliseconds in left)


def test_a_wrong_password_is_said_without_it(url: str) -> None:
    error = refused(url.replace(PASSWORD, "letmein"))

    assert isinstance(error, HealthCacheRejected)
    assert str(error) == "the health cache refuses the password of its block"


def test_a_redis_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    error = refused(f"unix://:{PASSWORD}@{tmp_path}/nothing.sock")

    assert isinstance(error, HealthCacheUnreachable)
    assert "cannot be reached" in str(error)


def test_a_url_that_is_none_is_said_without_it() -> None:
    error = refused(f"http://:{PASSWORD}@somewhere")

    assert isinstance(error, HealthCacheRejected)
    assert "check the URL of its block" in str(error)


def refused(url: str) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        HealthCache(url=SecretStr(url)).publish([WELL], at=NOON, lifetime_seconds=1)
    assert PASSWORD not in f"{caught.value!r}{caught.value.facts}{caught.value.__cause__!r}"
    return caught.value


def test_the_block_shows_no_secret() -> None:
    assert PASSWORD not in repr(HealthCache(url=SecretStr(f"redis://:{PASSWORD}@host")))
