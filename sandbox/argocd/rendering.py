"""What the sources of an Application render to, with the real `helm template`.

Not emulated: charts of Helm and OCI repositories (a chart lies in a Git repository here), Kustomize, Jsonnet, plugins, parameters of
Applications in files, build variables, and the cluster's API versions as charts see them. Helm's hooks and tests are left out.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sandbox.argocd.repositories import Repositories, SourceError
from sandbox.helm import helm_executable
from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.meta.values import clone, dig

#: Renderings that are kept: a comparison of what did not change costs nothing.
_KEPT = 64
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def sources_of(spec: Object) -> list[Object]:
    """An Application's sources, also where it has only one."""
    return list(spec.get("sources") or [spec.get("source") or {}])


class Renderer:
    """Renders Applications."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories
        self._kept: dict[str, list[Object]] = {}

    async def revisions(self, sources: Sequence[Object], wanted: Sequence[str], *, fresh: bool) -> list[str]:
        """What each source's revision stands for.

        Args:
            sources: The sources.
            wanted: A revision for each; an empty one stands for what the source follows.
            fresh: Whether the repositories must be asked.

        Raises:
            SourceError: A repository or a revision cannot be found.
        """
        found = []
        for position, source in enumerate(sources):
            if source.get("chart"):
                raise SourceError(f"the sandbox renders no charts of Helm repositories, such as {source['chart']}")
            asked = wanted[position] if position < len(wanted) else ""
            found.append(await self._repositories.resolve(source["repoURL"], asked or source.get("targetRevision", ""), fresh=fresh))
        return found

    async def manifests(self, name: str, namespace: str, sources: Sequence[Object], revisions: Sequence[str]) -> list[Object]:
        """The manifests of all sources.

        Args:
            name: The Application's name; the release's, where a source has no other.
            namespace: Where it deploys to.
            sources: Its sources.
            revisions: The commit of each.

        Raises:
            SourceError: Something cannot be rendered.
        """
        key = json.dumps([name, namespace, sources, revisions], sort_keys=True)
        if key not in self._kept:
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = await self._render(name, namespace, sources, revisions)
        return clone(self._kept[key])

    async def _render(self, name: str, namespace: str, sources: Sequence[Object], revisions: Sequence[str]) -> list[Object]:
        folders = [await self._repositories.files(source["repoURL"], commit) for source, commit in zip(sources, revisions, strict=True)]
        refs = {source["ref"]: folder for source, folder in zip(sources, folders, strict=True) if source.get("ref")}
        manifests: list[Object] = []
        for position, (source, folder) in enumerate(zip(sources, folders, strict=True), start=1):
            if not source.get("path"):
                continue  # it only lends its files to others
            try:
                manifests += await _one(name, namespace, source, folder, refs)
            except SourceError as exc:
                raise SourceError(f"failed to generate manifest for source {position} of {len(sources)}: {exc}") from exc
        return [manifest for manifest in manifests if not _is_hook(manifest)]


async def _one(name: str, namespace: str, source: Object, root: Path, refs: Mapping[str, Path]) -> list[Object]:
    path = source["path"]
    folder = _within(root, root / path)
    if not folder.is_dir():
        raise SourceError(f"rpc error: code = Unknown desc = {path}: app path does not exist")
    if not (folder / "Chart.yaml").is_file():
        return [manifest for file in sorted(folder.glob("*.y*ml")) for manifest in _parsed(file.read_text())]
    helm = source.get("helm") or {}
    command = [
        "template",
        helm.get("releaseName") or name,
        str(folder),
        "--namespace",
        helm.get("namespace") or namespace,
        "--include-crds",
    ]
    for file in helm.get("valueFiles") or ():
        found = _value_file(file, root, folder, refs)
        if found.is_file() or not helm.get("ignoreMissingValueFiles"):
            command += ["--values", str(found)]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as own:
        if values := helm.get("valuesObject") or helm.get("values"):
            own.write(values if isinstance(values, str) else yaml.safe_dump(values))
            own.flush()
            command += ["--values", own.name]
        for parameter in helm.get("parameters") or ():
            option = "--set-string" if parameter.get("forceString") else "--set"
            command += [option, f"{parameter['name']}={parameter.get('value', '')}"]
        done = await asyncio.to_thread(
            subprocess.run, [helm_executable(), *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        shown = " ".join(command).replace(str(root), "<path to cached source>")
        raise SourceError(f"rpc error: code = Unknown desc = `helm {shown}` failed exit status {done.returncode}: {done.stderr.strip()}")
    return _parsed(done.stdout)


def _value_file(file: str, root: Path, folder: Path, refs: Mapping[str, Path]) -> Path:
    """A values file: from the repository's root (`/…`), from that of another source (`$ref/…`), or from the chart's folder."""
    if file.startswith("$"):
        ref, _, path = file[1:].partition("/")
        if ref not in refs:
            raise SourceError(f"source referenced \"{ref}\", but no source has a 'ref' field defined as such")
        return _within(refs[ref], refs[ref] / path)
    return _within(root, root / file.lstrip("/") if file.startswith("/") else folder / file)


def _within(root: Path, path: Path) -> Path:
    resolved = path.resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise SourceError(f"rpc error: code = Unknown desc = {path.name} is outside of the repository root")
    return resolved


def _parsed(text: str) -> list[Object]:
    try:
        documents: list[Any] = list(yaml.load_all(text, Loader=_LOADER))  # a safe loader
    except yaml.YAMLError as exc:
        raise SourceError(f"rpc error: code = Unknown desc = error unmarshaling YAML: {getattr(exc, 'problem', exc)}") from exc
    return [document for document in documents if document]


def _is_hook(manifest: Object) -> bool:
    annotations = dig(manifest, "metadata", "annotations", default={})
    return "helm.sh/hook" in annotations or "argocd.argoproj.io/hook" in annotations
