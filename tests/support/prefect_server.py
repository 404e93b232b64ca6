"""Runs a Prefect server until a process ends: `python -m tests.support.prefect_server FOLDER PID`. Its address is in FOLDER/address."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil

from sandbox.prefect import SEVERAL_RUNS, Prefect


def main(folder: Path, owner: int) -> None:
    with Prefect(folder, SEVERAL_RUNS) as prefect:
        partial = folder / "address.partial"
        partial.write_text(prefect.api_url)
        partial.rename(folder / "address")
        while psutil.pid_exists(owner) and prefect.server.running:
            time.sleep(0.5)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
