"""How the program goes about it; set by its arguments."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Patience:
    """The budget of one stretch of bytes.

    Attributes:
        attempts: Failures in a row that end it.
        back_off_seconds: The first pause; doubled each time, and shortened by up to half at random.
        budget_seconds: From the first failure in a row to giving up, without the pauses that servers ask for.
        until: When, on `time.monotonic`, nothing is waited for any more; the Job would be ended then.
    """

    attempts: int
    back_off_seconds: float
    budget_seconds: float
    until: float


@dataclass(frozen=True, kw_only=True)
class TransferPolicy:
    """How bytes are moved.

    Attributes:
        connections: How many at once.
        segment_bytes: What is asked for at a time, and what a killed process loses of each connection at most.
        plain_limit_bytes: Larger files come from the hub's own store where it has them: it does not promise plain HTTP for these.
        timeout_seconds: Longest silence of a server.
        patience: What trouble is put up with.
    """

    connections: int
    segment_bytes: int
    plain_limit_bytes: int
    timeout_seconds: float
    patience: Patience


@dataclass(frozen=True, kw_only=True)
class SpacePolicy:
    """What stays free, and what stays.

    Attributes:
        reserve_percent: Share of the file system that stays free. The kubelet evicts pods below 10 % free (`nodefs.available`) or 15 %
            (`imagefs.available`), and deletes images from 85 % used on: 15 % keeps clear of all three.
        keep: Folders of snapshots, below the store, that are never removed: what is current or previous anywhere, or in a pod.
        fresh_seconds: A snapshot that was asked for within so many seconds is not removed either: another release may have brought it
            after `keep` was made.
    """

    reserve_percent: float
    keep: Collection[str]
    fresh_seconds: float
