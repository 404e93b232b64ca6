"""The Prefect block, and that nobody waits for Prefect who does not need it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from blocks.errors import RegistryRejected, RegistryUnreachable
from blocks.registry import Registry
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from conftest import Releases


def test_the_block_makes_clients(dsn: str, releases: Releases) -> None:
    releases.release("a1", "run-1")
    block = Registry(dsn=SecretStr(dsn))

    with block.client() as first, block.client() as second:
        assert first.current("tiny", "production") == second.current("tiny", "production") == releases.client.current("tiny", "production")


def test_a_run_has_one_client_which_is_opened_once_it_can_be(dsn: str, releases: Releases) -> None:
    block, away = Registry(dsn=SecretStr(dsn)), SecretStr(make_conninfo(dsn, dbname="nowhere"))

    with block.kept_open():
        right, block.dsn = block.dsn, away
        with pytest.raises(RegistryRejected), block.client():
            pass
        block.dsn = right
        with block.client() as first:
            pass
        with block.client() as second, block.client() as third:
            assert first is second is third
            assert third.entries() == []

    with block.client() as after:
        assert after is not first
    with pytest.raises(RegistryUnreachable):
        first.entries()


def test_the_block_shows_no_secret() -> None:
    block = Registry(dsn=SecretStr("postgresql://slipway:opensesame@db/models"))

    assert "opensesame" not in repr(block)
    assert "opensesame" not in block.model_dump_json()
    assert Registry.get_block_type_slug() == "slipway-registry"
    assert "PostgreSQL" in (Registry.get_description() or "")


def test_the_client_is_imported_without_prefect() -> None:
    program = "import sys, blocks.registry.client, blocks.registry; sys.exit('prefect' in sys.modules or 'pydantic' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=HANGS_SECONDS).returncode == 0
