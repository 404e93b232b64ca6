"""Runs a Prefect server until a process ends: `python -m tests.support.prefect_server FOLDER PID`. Its address is in FOLDER/address.

What its database was before anybody used it is in FOLDER/new.db: with a copy of it another server starts in half of the CPU time, which
goes into a hundred migrations.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from pathlib import Path

import psutil

from sandbox.prefect import SEVERAL_RUNS, Prefect


def main(folder: Path, owner: int) -> None:
    with Prefect(folder, SEVERAL_RUNS) as prefect:
        with contextlib.closing(sqlite3.connect(prefect.database)) as used, contextlib.closing(sqlite3.connect(folder / "new.db")) as new:
            used.backup(new)
        partial = folder / "address.partial"
        partial.write_text(prefect.api_url)
        partial.rename(folder / "address")
        while _runs(owner) and prefect.server.running:
            time.sleep(0.5)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
