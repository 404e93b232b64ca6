"""What labels say of a node's GPUs is believed only where a GPU can be like that."""

from __future__ import annotations

import pytest

from blocks.cluster.gpu_labels import MEMORY, PRODUCT, REPLICAS, SHARING, GpuLabels, read_gpu_labels

GIB = 2**30


def labels(memory: str = "", product: str = "", replicas: str = "", sharing: str = "") -> GpuLabels:
    said = {MEMORY: memory, PRODUCT: product, REPLICAS: replicas, SHARING: sharing}
    return read_gpu_labels({name: value for name, value in said.items() if value})


@pytest.mark.parametrize(
    ("memory", "product", "size"),
    [
        ("81559", "NVIDIA-H100-80GB-HBM3", 81_559 * 2**20),
        ("85520809984", "NVIDIA-H100-80GB-HBM3", 85_520_809_984),  # bytes
        ("294912", "NVIDIA-B300", 288 * GIB),
        ("4864", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", 4864 * 2**20),
        ("5100273664", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", 5_100_273_664),
        ("40448", "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb", 40_448 * 2**20),
    ],
)
def test_memory_is_read_in_mib_or_bytes(memory: str, product: str, size: int) -> None:
    assert labels(memory, product) == GpuLabels(memory_bytes=size, said="", product=product, shared_by=1, sharing="")


@pytest.mark.parametrize(
    ("memory", "product"),
    [
        ("plenty", "NVIDIA-L4"),
        ("0", "NVIDIA-L4"),
        ("80", "NVIDIA-H100-80GB-HBM3"),  # GiB
        ("83886080", "NVIDIA-H100-80GB-HBM3"),  # KiB
        ("-81559", "NVIDIA-H100-80GB-HBM3"),
        ("8.1e4", "NVIDIA-H100-80GB-HBM3"),
        ("9" * 60, "NVIDIA-H100-80GB-HBM3"),
        ("40960", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"),  # of the whole GPU
    ],
)
def test_what_cannot_be_a_gpus_memory_is_kept_as_it_was_said(memory: str, product: str) -> None:
    found = labels(memory, product)

    assert (found.memory_bytes, found.said) == (None, memory)


@pytest.mark.parametrize(
    ("product", "replicas", "sharing", "shared_by", "known_as", "share"),
    [
        ("NVIDIA-A100", "4", "", 4, "time-slicing", 10 * GIB),
        ("NVIDIA-A100-SHARED", "4", "time-slicing", 4, "time-slicing", 10 * GIB),
        ("NVIDIA-A100-SHARED", "2", "mps", 2, "mps", 20 * GIB),
        ("NVIDIA-A100", "1", "none", 1, "", 40 * GIB),
        ("NVIDIA-A100", "many", "none", 1, "", 40 * GIB),
        ("NVIDIA-A100-SHARED", "", "", 0, "time-slicing", None),
        ("NVIDIA-A100", "1", "mps", 0, "mps", None),
    ],
)
def test_shared_gpus_count_with_their_share(
    product: str, replicas: str, sharing: str, shared_by: int, known_as: str, share: int | None
) -> None:
    found = labels("40960", product, replicas, sharing)

    assert (found.shared_by, found.sharing, found.memory_bytes, found.said) == (shared_by, known_as, share, "")


def test_no_labels_say_nothing() -> None:
    assert labels() == GpuLabels(memory_bytes=None, said="", product="", shared_by=1, sharing="")
