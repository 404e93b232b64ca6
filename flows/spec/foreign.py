"""What others do to what Slipway delivers: containers that they put into its pods, and fields of its objects that they change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import StringConstraints

from flows.spec.types import STRICT, DnsLabel

#: An image without tag and digest.
ImageRepository = Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9._/:-]{0,253}[a-z0-9])?$")]


@dataclass(frozen=True, kw_only=True)
class KnownContainer:
    """A container that something on the cluster puts into pods, and may.

    Attributes:
        name: Its name.
        image: Its image, without tag and digest; empty for any.
    """

    __pydantic_config__ = STRICT

    name: DnsLabel
    image: ImageRepository = ""

    def covers(self, name: str, image: str) -> bool:
        """Whether a container of that name and image is this one."""
        return name == self.name and (not self.image or image == self.image or image.startswith((f"{self.image}:", f"{self.image}@")))


@dataclass(frozen=True, kw_only=True)
class InjectionPolicy:
    """What may be in a pod beside what the chart renders: sidecars, init containers, and those of `kubectl debug`.

    Attributes:
        known: Containers that may be there, and are not spoken of.
        others: What becomes of any other: `report` names it in the evidence, `gate` fails the verification.
    """

    __pydantic_config__ = STRICT

    known: tuple[KnownContainer, ...] = ()
    others: Literal["report", "gate"] = "report"


@dataclass(frozen=True, kw_only=True)
class DriftPolicy:
    """What becomes of fields that somebody added to objects of the Helm release beside what the chart renders.

    Attributes:
        changes: `take_back` removes them with the next release or rollback, and a verification fails where they are still there; `report`
            leaves them, and names them in the evidence.
    """

    __pydantic_config__ = STRICT

    changes: Literal["take_back", "report"] = "take_back"
