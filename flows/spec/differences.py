"""Fields of an environment's objects in which the cluster may differ from Git, because something there writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, StringConstraints

from flows.spec.source import Place
from flows.spec.types import STRICT

_PART = r"/([^/~[:cntrl:]]|~[01])+"

#: A field below `metadata` or `spec`, or what OpenShift adds to each service account (RFC 6901).
FieldPointer = Annotated[
    str, StringConstraints(pattern=rf"^/((metadata|spec)({_PART})+|(secrets|imagePullSecrets)({_PART})*)$", max_length=300)
]

#: What is always compared, or another engine could serve under the candidate's name.
_ENGINE = "/spec/template/spec/containers/0/image"


@dataclass(frozen=True, kw_only=True)
class IgnoredDifference:
    """Fields that something else writes, such as an admission webhook; as Argo CD's own `ignoreDifferences`.

    Attributes:
        kind: The objects' kind.
        group: Its API group; empty for Kubernetes' core.
        name: One object's name; empty for all of that kind.
        json_pointers: Where the fields are.
    """

    __pydantic_config__ = STRICT

    kind: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]{0,62}$")]
    group: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]{0,253}$")] = ""
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]{0,253}$")] = ""
    json_pointers: Annotated[tuple[FieldPointer, ...], Field(min_length=1)]


def too_wide(ignored: Sequence[IgnoredDifference]) -> Iterator[tuple[Place, str]]:
    """The pointers that would leave the engine itself out of a comparison, and what to write instead."""
    for index, one in enumerate(ignored):
        for number, pointer in enumerate(one.json_pointers):
            if one.kind == "Deployment" and f"{_ENGINE}/".startswith(f"{pointer}/"):
                problem = f"is {pointer}, in which the engine's image lies: name the field that differs, further down."
                yield ("ignore_differences", index, "json_pointers", number), problem
