"""What the labels of NVIDIA's GPU feature discovery say of a node's GPUs.

`nvidia.com/gpu.memory` is the memory of one GPU, or of one MIG slice where all are sliced the same, in MiB; some versions write bytes. What
cannot be a GPU's memory is not taken for one. A GPU that pods share (time slices, MPS) counts with its share.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MEMORY = "nvidia.com/gpu.memory"
PRODUCT = "nvidia.com/gpu.product"
REPLICAS = "nvidia.com/gpu.replicas"
SHARING = "nvidia.com/gpu.sharing-strategy"

_MIB, _GIB = 2**20, 2**30

#: Memory that a GPU can have, in bytes: vLLM does not start with less, and none has more.
_LEAST, _MOST = 1 * _GIB, 4096 * _GIB

#: The slice's size in a product's name, in GB as NVIDIA rounds it up: NVIDIA-A100-SXM4-40GB-MIG-1g.5gb.
_SLICE = re.compile(r"-MIG-\d+g\.(\d{1,4})gb", re.ASCII)

#: What the device plugin adds to the product's name where GPUs are shared and their resource keeps its name.
_SHARED = "-SHARED"


@dataclass(frozen=True, kw_only=True)
class GpuLabels:
    """A node's GPUs, by its labels.

    Attributes:
        memory_bytes: Memory of one, or of a pod's share of one; none if that cannot be told.
        said: What the label of the memory says, where that is no GPU's memory; empty otherwise.
        product: Their name; empty without the label.
        shared_by: Pods that share one; 0 if they do and nothing says how many.
        sharing: How they share it: `time-slicing` or `mps`; empty if they do not.
    """

    memory_bytes: int | None
    said: str
    product: str
    shared_by: int
    sharing: str


def read_gpu_labels(labels: Mapping[str, str]) -> GpuLabels:
    """Read a node's labels."""
    product, said = labels.get(PRODUCT, ""), labels.get(MEMORY, "")
    shared_by, sharing = _sharing(labels, product)
    whole = _memory(said, product)
    return GpuLabels(
        memory_bytes=whole // shared_by if whole is not None and shared_by else None,
        said=said if whole is None else "",
        product=product,
        shared_by=shared_by,
        sharing=sharing,
    )


def _sharing(labels: Mapping[str, str], product: str) -> tuple[int, str]:
    replicas, strategy = labels.get(REPLICAS, ""), labels.get(SHARING, "")
    known = int(replicas) if re.fullmatch(r"[1-9][0-9]{0,3}", replicas) else 0
    if known > 1:
        # Before there was the label of the strategy, there were only time slices.
        return known, strategy if strategy == "mps" else "time-slicing"
    if product.endswith(_SHARED) or strategy in ("time-slicing", "mps"):
        return 0, strategy or "time-slicing"
    return 1, ""


def _memory(said: str, product: str) -> int | None:
    number = int(said) if re.fullmatch(r"[0-9]{1,18}", said) else 0
    found = next((size for size in (number * _MIB, number) if _LEAST <= size <= _MOST), None)
    sliced = _SLICE.search(product)
    # The whole GPU's memory where the name is that of a slice: the slice has less, and how much less nothing says.
    return None if found is None or (sliced is not None and found > int(sliced[1]) * _GIB) else found
