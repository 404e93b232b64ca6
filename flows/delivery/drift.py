"""What is not as it was recorded: Applications, Git and the cluster against each other. Facts in, findings out."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from blocks.facts.argocd import Application
from blocks.facts.registry import Entry
from blocks.wording import one_line
from flows.delivery.application import SyncPolicy, unfit
from flows.spec import IgnoredDifference
from flows.text.markdown import Markdown, md, page, verbatim
from flows.text.quantities import quantity

#: Lines of a difference that are shown.
SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class InGit:
    """What the branch says now.

    Attributes:
        head: Its newest commit.
        fingerprint: The candidate that it promotes there; none if it promotes nothing.
        changed: What is different since the commit that was recorded, as lines of a diff.
    """

    head: str
    fingerprint: str | None
    changed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Drift:
    """One thing that is not as it was recorded.

    Attributes:
        kind: `application`: missing, or not what it must be; `git`: Git is not what the registry says; `live`: the cluster is not what
            Git says; `rendered`: it is not what Helm rendered, where the flow runs Helm.
        message: What, and what to do.
        difference: The difference, line by line; nothing in it looks like a secret.
    """

    kind: Literal["application", "git", "live", "rendered"]
    message: str
    difference: tuple[str, ...] = ()


def drifts(
    entry: Entry, application: str, namespace: str, policy: SyncPolicy, seen: Application | None, in_git: InGit, live: Sequence[str]
) -> tuple[Drift, ...]:
    """Everything that is not as it was recorded.

    Args:
        entry: What serves by the registry.
        application: The Application's name.
        namespace: Where it must lie.
        policy: What it must be.
        seen: The Application; none if there is none.
        in_git: What Git says.
        live: How the objects that Argo CD calls different differ from Git beyond what the policy ignores, as lines.
    """
    found = []
    if why := unfit(seen, application, namespace, policy):
        found.append(Drift(kind="application", message=why))
    if (in_git_differs := _git(entry, in_git)) is not None:
        found.append(in_git_differs)
    if seen is not None and seen.sync_status == "OutOfSync" and not (policy.ignored and not live):
        which = ", ".join(seen.out_of_sync) or "something"
        sentence = (
            f"The cluster is not what Git says of {entry.model} in {entry.environment} ({which}): release it again, or sync {application}."
        )
        found.append(Drift(kind="live", message=sentence, difference=shown(live)))
    return tuple(found)


def _git(entry: Entry, in_git: InGit) -> Drift | None:
    where, serves = f"{entry.model} in {entry.environment}", (entry.fingerprint or "nothing")[:12]
    # Helm delivered it, before the environment was switched to Argo CD.
    if entry.git_commit is None:
        return Drift(kind="git", message=f"{where} was not delivered from Git: release it again, so that Git says what runs there.")
    if in_git.fingerprint != entry.fingerprint:
        says = f"candidate {in_git.fingerprint[:12]}" if in_git.fingerprint else "nothing"
        sentence = f"Git says {says} of {where} (at {in_git.head[:12]}), and the registry candidate {serves}: release or roll back."
        return Drift(kind="git", message=sentence, difference=shown(in_git.changed))
    if in_git.changed:
        sentence = f"Somebody changed {where} in Git since commit {entry.git_commit[:12]}: take it back there, or release it again."
        return Drift(kind="git", message=sentence, difference=shown(in_git.changed))
    return None


def shown(lines: Sequence[str]) -> tuple[str, ...]:
    """The first lines, without what looks like a secret, and not too long."""
    safe = [one_line(line, 200) for line in lines[:SHOWN]]
    more = len(lines) - SHOWN
    return (*safe, f"… {more} more lines") if more > 0 else tuple(safe)


def pointers_of(document: Mapping[str, Any], ignored: Sequence[IgnoredDifference]) -> list[str]:
    """Where the object may differ."""
    group = str(document["apiVersion"]).rpartition("/")[0]
    return [
        pointer
        for one in ignored
        if (one.kind, one.group) == (document["kind"], group) and one.name in ("", document["metadata"]["name"])
        for pointer in one.json_pointers
    ]


def without(document: Any, ignored: Sequence[IgnoredDifference]) -> Any:
    """The object without the fields in which it may differ."""
    pointers = pointers_of(document, ignored)
    if not pointers:
        return document
    left = copy.deepcopy(document)
    for pointer in pointers:
        *above, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
        place = left
        for part in above:
            place = _below(place, part)
        if isinstance(place, dict):
            place.pop(last, None)
        elif isinstance(place, list) and _is_number(last, place):
            # Emptied and not taken out: those behind it keep their numbers.
            place[int(last)] = None
    return left


def _below(place: Any, part: str) -> Any:
    if isinstance(place, dict):
        return place.get(part)
    return place[int(part)] if isinstance(place, list) and _is_number(part, place) else None


def _is_number(part: str, items: Sequence[Any]) -> bool:
    """Whether this part of a pointer is an item's number, as RFC 6901 writes it."""
    return re.fullmatch(r"0|[1-9][0-9]{0,5}", part) is not None and int(part) < len(items)


def different(wanted: Any, live: Any, place: str = "") -> list[str]:
    """Where the live object is not what is wanted, as lines; what is not wanted (defaults, status) does not count."""
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        return [line for key, below in wanted.items() for line in different(below, live.get(key), f"{place}.{key}")]
    if isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        pairs = zip(wanted, live, strict=True)
        return [line for number, (below, there) in enumerate(pairs) for line in different(below, there, f"{place}[{number}]")]
    if is_same(wanted, live):
        return []
    return [f"{place.lstrip('.')}: Git {wanted!r}, live {live!r}"]


def is_same(wanted: Any, live: Any) -> bool:
    """Whether a server would keep them as one: nothing for empty, `1000m` for `1`, numbers for their text."""
    if not wanted and not live:
        return True
    if wanted == live:
        return True
    one, other = quantity(wanted), quantity(live)
    return one is not None and one == other


def drift_page(found: Mapping[str, Sequence[Drift]]) -> Markdown:
    """What has drifted, by entry, with the differences; nothing where nothing has."""
    lines = [md(""), md(""), md("## Drift"), md("")] if found else []
    for name, drifts in found.items():
        for drift in drifts:
            lines += [md("**{}** ({}): {}", name, drift.kind, drift.message), md("")]
            lines += [verbatim(drift.difference), md("")] if drift.difference else []
    return page(*lines)
