"""How people read lists, sizes and large numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

GIB = 2**30


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first of the names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def gib(size_bytes: float) -> str:
    """Bytes as people read them: in GiB, or in MiB below one."""
    return f"{size_bytes / GIB:,.1f} GiB" if size_bytes >= GIB else f"{size_bytes / 2**20:,.1f} MiB"


def counted(number: int) -> str:
    """A large number as people read it, to three digits."""
    for size, word in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,}"


#: Kubernetes' suffixes: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity
_UNITS = {"": Decimal(1)}
_UNITS |= {unit: Decimal(10) ** power for unit, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)}
_UNITS |= {f"{unit}i": Decimal(2) ** (10 * power) for power, unit in enumerate("KMGTPE", start=1)}
_QUANTITY = re.compile(r"([+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30}))(?:([eE][+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII)


def quantity(value: object) -> Decimal | None:
    """A Kubernetes quantity (`100m`, `16Gi`, `1e3`, 2) as a number; none if it is not one."""
    # A bool is a number to Python, and none to Kubernetes.
    found = None if isinstance(value, bool) else _QUANTITY.fullmatch(str(value))
    if found is None:
        return None
    return Decimal(found[1] + (found[2] or "")) * _UNITS[found[3] or ""]
