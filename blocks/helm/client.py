"""A client over the `helm` command: what a release carries, and how it is changed."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import yaml

from blocks.errors import HelmNotFound, HelmRejected
from blocks.facts import HelmRevision
from blocks.helm.command import HelmCommand
from blocks.yaml_text import SafeLoader, read, read_all

#: Digests of charts by the command that packed them and their folders, with what these held then.
_DIGESTS: dict[tuple[str, Path], tuple[list[tuple[Path, int, int, int]], str]] = {}

#: Revisions that Helm keeps of a release.
_HISTORY_MAX = 10


class HelmClient:
    """Runs `helm`. Each call is one or two processes of about 0.1 s; none of them waits for pods."""

    def __init__(self, command: HelmCommand, chart: Path, dead_after_seconds: float) -> None:
        self._command = command
        self._chart = self.chart = chart
        self.dead_after_seconds = dead_after_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def chart_digest(self) -> str:
        """SHA-256 of the chart's packaged content.

        `helm package` decides what belongs to the chart (`.helmignore`). Its archive holds times, so what is hashed is each
        file's name and content in the order of names: the same chart has the same digest everywhere. Packed once, as long as no file
        below the folder changes.

        Raises:
            HelmRejected: There is no chart, or it cannot be packaged.
        """
        now = [
            (path, found.st_mtime_ns, found.st_size, found.st_ino) for path in sorted(self._chart.rglob("*")) for found in [path.lstat()]
        ]
        place = self._command.executable, self._chart
        known = _DIGESTS.get(place)
        if known is None or known[0] != now:
            known = _DIGESTS[place] = now, self._digest_now()
        return known[1]

    def _digest_now(self) -> str:
        digest = hashlib.sha256()
        for name, content in sorted(self._packaged().items()):
            digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
        return digest.hexdigest()

    def chart_files(self) -> dict[str, bytes]:
        """The files of the packaged chart, by their paths in it. Packaged again, they have the same digest.

        Raises:
            HelmRejected: There is no chart, or it cannot be packaged.
        """
        return {name.partition("/")[2]: content for name, content in self._packaged().items()}

    def rendered(self, release: str, namespace: str, chart: Path, values: Path) -> list[dict[str, Any]]:
        """What a chart renders to with a file of values, as `helm template` does for whoever delivers it; touches no cluster.

        Raises:
            HelmRejected: The values do not match the chart's schema, or the chart refuses them.
        """
        printed = self._command.run("template", release, chart, "--values", values, namespace=namespace)
        return _documents(printed)

    def manifest(self, release: str, namespace: str) -> list[dict[str, Any]]:
        """What the newest Helm revision of the release rendered, as Helm keeps it; nothing where there is no release.

        Raises:
            HelmUnreachable: The cluster did not answer; retried.
            HelmRejected: Helm refused.
        """
        try:
            printed = self._command.run("get", "manifest", release, namespace=namespace)
        except HelmNotFound:
            return []
        return _documents(printed)

    def _packaged(self) -> dict[str, bytes]:
        if not (self._chart / "Chart.yaml").is_file():
            raise HelmRejected(f"There is no chart in {self._chart}: set the Helm block's chart to the folder that holds Chart.yaml.")
        with tempfile.TemporaryDirectory() as folder:
            self._command.run("package", self._chart, "--destination", folder)
            (package,) = Path(folder).glob("*.tgz")
            with tarfile.open(package) as archive:
                return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]  # a file has content

    def default_values(self) -> dict[str, Any]:
        """The chart's own `values.yaml`, which Helm puts below all others."""
        return self._values("values.yaml")

    def environment_values(self, environment: str) -> dict[str, Any]:
        """The chart's own `values-ENVIRONMENT.yaml`; empty where it has none."""
        return self._values(f"values-{environment}.yaml")

    def _values(self, name: str) -> dict[str, Any]:
        path = self._chart / name
        if not path.is_file():
            return {}
        try:
            values = read(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as exc:
            raise HelmRejected(f"{path.name} of the chart is not valid YAML: {getattr(exc, 'problem', exc)}.") from exc
        return values if isinstance(values, dict) else {}

    def current(self, release: str, namespace: str) -> HelmRevision | None:
        """The newest Helm revision of the release, whatever its status; none where there is no release.

        Raises:
            HelmUnreachable: The cluster did not answer; retried.
            HelmRejected: Helm refused.
        """
        return self._status(release, namespace)

    def upgrade(self, release: str, namespace: str, values: Mapping[str, Any], *, force_conflicts: bool = False) -> HelmRevision:
        """Install or upgrade the release with these values; does not wait for pods.

        Args:
            release: Its name.
            namespace: Where it is.
            values: The chart's values.
            force_conflicts: Whether fields that the chart sets are taken from whoever changed them outside of Helm; no other is.

        Raises:
            HelmBusy: Another operation holds the release; retried.
            HelmUnreachable: The cluster did not answer; retried.
            HelmConflict: Somebody else owns fields that the chart sets.
            HelmRejected: The chart or its values are wrong, or the cluster refuses what they render.
        """
        # The namespace is the environment's own: who deploys models into it need not be let make namespaces.
        # Neither --wait nor --rollback-on-failure: once it has rolled back, nothing tells why the pods did not start.
        command = ["upgrade", release, self._chart, "--install", "--history-max", _HISTORY_MAX, "--output", "json", "--values", "-"]
        printed = self._command.run(*command, *_forced(force_conflicts), namespace=namespace, stdin=json.dumps(values))
        return _revision(json.loads(printed))

    def rollback(self, release: str, namespace: str, number: int, *, force_conflicts: bool = False) -> HelmRevision:
        """Make the release what it was at a Helm revision; does not wait for pods. Arguments and errors as of `upgrade`."""
        self._command.run("rollback", release, number, *_forced(force_conflicts), namespace=namespace)
        # `helm rollback` prints a sentence and no JSON.
        current = self.current(release, namespace)
        if current is None:
            raise HelmRejected(f"The Helm release {release} in {namespace} vanished while it was rolled back.")
        return current

    def uninstall(self, release: str, namespace: str, *, keep_history: bool = False) -> None:
        """Remove what the release made; does not wait for pods. One that is not there is left alone.

        Args:
            release: Its name.
            namespace: Where it is.
            keep_history: Whether its revisions are kept, so that `rollback` can bring it back.
        """
        with suppress(HelmNotFound):
            self._command.run("uninstall", release, *(["--keep-history"] if keep_history else []), namespace=namespace)

    def releases(self, namespace: str) -> dict[str, str]:
        """Every release of the namespace and the status of its newest revision, in Helm's words; one process."""
        # Helm 4 lists those of every status unless it is told which, and no more than 256 unless it is told that there is no limit.
        lines = self._command.read("list", "--max", 0, namespace=namespace)
        return {str(line["name"]): str(line["status"]) for line in lines}

    def revisions(self, release: str, namespace: str) -> Iterator[HelmRevision]:
        """The Helm revisions that are kept, newest first, one process each; nothing where there is no release."""
        newest = self._status(release, namespace)
        if newest is None:
            return
        yield newest
        lines = self._command.read("history", release, namespace=namespace)
        for number in sorted((int(line["revision"]) for line in lines), reverse=True):
            # Between the commands a newer one may have come, and the oldest been pruned (Helm keeps ten).
            if number < newest.revision and (found := self._status(release, namespace, number)) is not None:
                yield found

    def _status(self, release: str, namespace: str, number: int | None = None) -> HelmRevision | None:
        try:
            of = [] if number is None else ["--revision", number]
            return _revision(self._command.read("status", release, *of, namespace=namespace))
        except HelmNotFound:
            return None


class _Rendered(SafeLoader):
    """Reads YAML as Kubernetes does: to it dates, and a lone `=` or `<<`, are texts, which Helm therefore leaves without quotes."""


def _text(_: SafeLoader, node: yaml.ScalarNode) -> str:
    return str(node.value)


for _tag in ("timestamp", "value", "merge"):
    _Rendered.add_constructor(f"tag:yaml.org,2002:{_tag}", _text)


def _documents(printed: str) -> list[dict[str, Any]]:
    """The objects of a manifest; a template that is switched off leaves an empty document."""
    return [document for document in read_all(printed, _Rendered) if document]


def _stamp(path: Path) -> tuple[Path, int, int, int]:
    found = path.lstat()
    return path, found.st_mtime_ns, found.st_size, found.st_ino


def _forced(force_conflicts: bool) -> list[str]:
    return ["--force-conflicts"] if force_conflicts else []


def values_digest(values: Mapping[str, Any]) -> str:
    """What tells values from others: a SHA-256 of their canonical JSON, without nulls, which Helm does not keep."""
    return hashlib.sha256(json.dumps(_without_nulls(values), sort_keys=True).encode()).hexdigest()


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, (list, tuple)) else value


def _revision(status: Mapping[str, Any]) -> HelmRevision:
    """What `helm status` (and an upgrade) prints, as a fact."""
    # Null where it was installed without values of its own.
    values = status.get("config") or {}
    return HelmRevision(
        release=str(status["name"]),
        revision=int(status["version"]),
        status=str(status["info"]["status"]),
        fingerprint=(values.get("candidate") or {}).get("fingerprint"),
        strategy=(values.get("rollout") or {}).get("strategy"),
        replicas=values.get("replicas"),
        values_sha256=values_digest(values),
        updated_at=datetime.fromisoformat(str(status["info"]["last_deployed"])),
        values=values,
    )
