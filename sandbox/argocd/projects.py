"""Projects: which repositories and destinations an Application may have. Pure.

Not emulated: roles, permitted kinds, orphaned resources, and clusters other than the one that the controller runs on.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from sandbox.argocd.rendering import sources_of
from sandbox.kubernetes.meta.client import Object

#: The project that every Argo CD has from the start.
DEFAULT: Object = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "AppProject",
    "metadata": {"name": "default"},
    "spec": {
        "sourceRepos": ["*"],
        "destinations": [{"server": "*", "namespace": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    },
}
LOCAL = "https://kubernetes.default.svc"


def invalid(app: Object, project: Object | None) -> str:
    """What is wrong with the Application by its project (`InvalidSpecError`); empty where nothing is."""
    name, destination = app["spec"]["project"], app["spec"]["destination"]
    if project is None:
        return f"Application referencing project {name} which does not exist"
    for source in sources_of(app["spec"]):
        if not source.get("repoURL"):
            return "spec.source.repoURL and either spec.source.path or spec.source.chart are required"
        if not _permits(project["spec"].get("sourceRepos") or (), source["repoURL"]):
            return f"application repo {source['repoURL']} is not permitted in project '{name}'"
    server = LOCAL if destination.get("name") == "in-cluster" else destination.get("server", "")
    if server != LOCAL:
        return f"there are no clusters with this name: {destination.get('name') or server}"
    for place in project["spec"].get("destinations") or ():
        if fnmatchcase(server, place.get("server", "*")) and fnmatchcase(destination.get("namespace", ""), place.get("namespace", "")):
            return ""
    return (
        f"application destination server '{server}' and namespace '{destination.get('namespace', '')}' "
        f"do not match any of the allowed destinations in project '{name}'"
    )


def _permits(patterns: Iterable[str], value: str) -> bool:
    """Whether one of the patterns allows the value, and none that begins with `!` forbids it."""
    listed = list(patterns)
    denied = any(pattern.startswith("!") and fnmatchcase(value, pattern[1:]) for pattern in listed)
    return not denied and any(fnmatchcase(value, pattern) for pattern in listed if not pattern.startswith("!"))
