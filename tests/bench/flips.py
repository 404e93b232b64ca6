"""Changes statuses through the client for some seconds, as one of several writers; `registry.py` runs it with this build and one before.

    python flips.py DSN WRITER WRITERS SECONDS

It waits for a line on its input, and prints how many changes it made and in how many seconds. Only what both builds have is called.
"""

from __future__ import annotations

import sys
import time

from blocks.registry import RegistryClient


def main() -> None:
    """Flip the entries of this writer between ready and degraded."""
    dsn, writer, writers, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    with RegistryClient(dsn) as client:
        mine = sorted(entry.model for entry in client.entries(environment="staging", status="ready"))[writer::writers]
        candidates = {entry.model: str(entry.fingerprint) for entry in client.entries(environment="staging", status="ready")}
        place = {"environment": "staging"}
        client.lifecycle.mark_recovered(model=mine[0], fingerprint=candidates[mine[0]], **place)
        print("ready", flush=True)
        sys.stdin.readline()
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            model = mine[done // 2 % len(mine)]
            if done % 2 == 0:
                assert client.lifecycle.mark_degraded(model=model, fingerprint=candidates[model], reason="answers are wrong", **place)
            else:
                assert client.lifecycle.mark_recovered(model=model, fingerprint=candidates[model], **place)
            done += 1
        print(done, time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
