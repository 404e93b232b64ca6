"""The registry: what serves where, and what happened, in PostgreSQL.

`RegistryClient` is plain Python over psycopg; `Registry` is the Prefect block that makes one. The block is imported when it is asked for,
so that what only reads the registry (a router, a monitor, the command line) does not wait for Prefect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blocks.facts.canary import PHASES, WISHES, Canary
from blocks.facts.registry import STATUSES, Checked, Entry, EntryKey, Event, Failure, Lock, OpenRequest, Route, Status, TakenOut, Verified
from blocks.registry.approvals import Gate
from blocks.registry.audit import AuditReport
from blocks.registry.chain import ChainHead
from blocks.registry.client import RegistryClient
from blocks.registry.export import ArchiveParts, NotProven, archived, proven, written
from blocks.registry.health import Health

if TYPE_CHECKING:
    from blocks.registry.block import Registry

__all__ = [
    "PHASES",
    "STATUSES",
    "WISHES",
    "ArchiveParts",
    "AuditReport",
    "Canary",
    "ChainHead",
    "Checked",
    "Entry",
    "EntryKey",
    "Event",
    "Failure",
    "Gate",
    "Health",
    "Lock",
    "NotProven",
    "OpenRequest",
    "Registry",
    "RegistryClient",
    "Route",
    "Status",
    "TakenOut",
    "Verified",
    "archived",
    "proven",
    "written",
]


def __getattr__(name: str) -> object:
    if name == "Registry":
        from blocks.registry.block import Registry

        return Registry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
