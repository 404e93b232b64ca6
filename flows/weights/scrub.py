"""The Job that hashes again what lies on a node, and what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from blocks.errors import ClusterUnreachable, PipelineError
from blocks.facts.cluster import SCRUB
from flows.naming import scrub_job_name
from flows.spec import Environment
from flows.text.markdown import Markdown, md
from flows.weights.job import STORE_MOUNT, node_job

#: Share of the Job's time that goes to hashing; the rest is for the image to be pulled and the end to be told.
_TIME_SHARE = 0.8


@dataclass(frozen=True, kw_only=True)
class ScrubReport:
    """What a scrub of one node found.

    Attributes:
        node: The node.
        contents: Contents that were hashed.
        size_bytes: Their bytes.
        skipped: Contents that there was no time for; the next scrub begins with them.
        corrupt: Damaged contents, by the SHA-256 that each should have.
        snapshots: Folders of the snapshots that held one, below the store: no engine starts from them until they are prefetched again.
    """

    node: str
    contents: int
    size_bytes: int
    skipped: int
    corrupt: tuple[str, ...]
    snapshots: tuple[str, ...]

    @classmethod
    def of(cls, node: str, job: str, line: Mapping[str, Any]) -> ScrubReport:
        """The report that the program's last word makes.

        Raises:
            ClusterUnreachable: There is none: the log of a Job that has succeeded cannot be read now.
        """
        if line.get("event") != "complete":
            raise ClusterUnreachable(f"What was found on node {node} cannot be read: the log of its Job {job} is not to be had.")
        return cls(
            node=node,
            contents=int(line["contents"]),
            size_bytes=int(line["size_bytes"]),
            skipped=int(line["skipped"]),
            corrupt=tuple(sorted(line["corrupt"])),
            snapshots=tuple(line["snapshots"]),
        )

    @property
    def message(self) -> str:
        """What was found, for people."""
        rest = f"; {self.skipped} are left for next time" if self.skipped else ""
        if not self.corrupt:
            return f"{self.contents} contents, {self.size_bytes / 1e9:,.2f} GB, all sound{rest}"
        return f"{len(self.corrupt)} of {self.contents} contents are damaged, in {', '.join(self.snapshots) or 'no snapshot'}{rest}"

    def document(self) -> dict[str, Any]:
        """The report as JSON-able data, as the registry keeps it."""
        return {**asdict(self), "corrupt": list(self.corrupt), "snapshots": list(self.snapshots)}


def scrub_job(environment: Environment, node: str, run_id: str) -> dict[str, Any]:
    """The Job's manifest; the same run asks for the same Job again. It asks for little, and takes what nobody else wants."""
    limit_seconds = environment.prefetch.timeout_seconds * _TIME_SHARE
    container = {
        "name": SCRUB,
        "args": ["scrub", "--store", STORE_MOUNT, "--limit-seconds", f"{limit_seconds:g}"],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    }
    return node_job(scrub_job_name(run_id, node), {"app.kubernetes.io/name": "slipway-scrub"}, environment, node, run_id, container, ())


def scrub_rows(reports: Mapping[str, str]) -> list[dict[str, Markdown]]:
    """What was found on each node, as rows of a table."""
    return [{"node": md("{}", node), "found": md("{}", sentence)} for node, sentence in reports.items()]


@dataclass(frozen=True, kw_only=True)
class Scrubbed:
    """What the nightly run did on a node.

    Attributes:
        report: What was found; none if it could not be looked at.
        error: Why it could not be looked at, or why what serves was not fetched again.
    """

    report: ScrubReport | None = None
    error: PipelineError | None = None

    @property
    def message(self) -> str:
        """The same for people."""
        return "; ".join(each.message for each in (self.report, self.error) if each is not None)


def unmended(scrubbed: Sequence[Scrubbed]) -> str:
    """One sentence about the nodes whose weights are damaged and were not brought again; empty if there are none."""
    hit = [f"{_of(one.report)}: {one.error.message}" for one in scrubbed if one.report is not None and one.error is not None]
    if not hit:
        return ""
    lost = "were damaged and taken away, and could not be fetched again: no engine starts there."
    return f"Weights on {len(hit)} node(s) {lost} {' '.join(hit)}"


def mended(scrubbed: Sequence[Scrubbed]) -> str:
    """One sentence about the nodes whose weights were damaged, and are whole again where they serve; empty if there are none."""
    hit = [_of(one.report) for one in scrubbed if one.report is not None and one.report.corrupt and one.error is None]
    if not hit:
        return ""
    return f"Weights on {len(hit)} node(s) were damaged and taken away; those that serve were fetched again. {'; '.join(hit)}."


def _of(report: ScrubReport) -> str:
    return f"{report.node}: {', '.join(report.snapshots) or 'no snapshot'}"
