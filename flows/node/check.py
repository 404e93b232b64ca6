"""Whether a folder is the snapshot that an engine is about to serve; asked by an init container, in which nothing else is at hand."""

from __future__ import annotations

from pathlib import Path

from blocks.errors import SnapshotCorrupt
from flows.node.snapshot import described, faults


def check(folder: Path, digest: str) -> None:
    """Require that the folder holds exactly the files of that digest, by its manifest, names and sizes.

    Bytes were hashed when they arrived, and the nightly scrub hashes them again: an engine's start need not wait for that.

    Raises:
        SnapshotCorrupt: It does not.
    """
    snapshot = described(folder)
    if snapshot is None:
        raise SnapshotCorrupt(f"{folder} has no manifest: it is no snapshot, or a scrub found it damaged. Prefetch it again.")
    if snapshot.digest != digest:
        raise SnapshotCorrupt(
            f"{folder} holds {snapshot.repository} at {snapshot.commit[:12]} with other files than the candidate's: its list hashes to "
            f"{snapshot.digest[:12]}…, expected {digest[:12]}…. Prefetch it again."
        )
    wrong = faults(folder, snapshot)
    if wrong:
        # Read in the pod's status, which keeps 2,048 bytes of what a container printed last (FallbackToLogsOnError).
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise SnapshotCorrupt(f"{folder} is not what its manifest says: {', '.join(wrong[:3])}{more}. Prefetch it again.")
