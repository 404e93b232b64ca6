"""Amounts, as Kubernetes writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

#: k8s.io/apimachinery, pkg/api/resource/suffix.go: by tens (`1k` is 1000), by twos (`1Ki` is 1024), or with an exponent (`1e3`).
_AMOUNT = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_TIMES = {
    "": Decimal(1),
    **{suffix: Decimal(1000) ** exponent for exponent, suffix in zip((-3, -2, -1, 1, 2, 3, 4, 5, 6), "numkMGTPE", strict=True)},
    **{f"{suffix}i": Decimal(1024) ** exponent for exponent, suffix in enumerate("KMGTPE", 1)},
}


def amount(amounts: Mapping[str, str] | None, name: str) -> int:
    """One of an object's amounts as a whole number; 0 where it has none of that name. Kubernetes writes 1000 as `1k`.

    Raises:
        ValueError: It is no amount.
    """
    written = str((amounts or {}).get(name, "0"))
    match = _AMOUNT.fullmatch(written)
    if match is None:
        raise ValueError(f"{written[:40]!r} is no amount")
    return int(Decimal(match[1]) * _TIMES[match[2] or ""])
