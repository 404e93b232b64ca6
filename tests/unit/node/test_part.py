"""A content under way: what several threads write at once."""

from __future__ import annotations

import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flows.node.part import Part

PAGE = mmap.PAGESIZE
SEGMENTS = 16


def test_segments_that_the_file_system_refuses_past_the_page_cache(tmp_path: Path) -> None:
    # O_DIRECT refuses (EINVAL) a buffer that begins within a page; where it is not known at all, nothing is refused
    content = b"".join(bytes([index]) * PAGE for index in range(SEGMENTS))
    unaligned = memoryview(b"x" + content)[1:]

    for attempt in range(20):
        part = Part(tmp_path / f"content-{attempt}", len(content), PAGE)
        part.open()
        descriptors = len(os.listdir("/proc/self/fd"))
        with ThreadPoolExecutor(SEGMENTS) as threads:
            list(threads.map(lambda index: part.write(index, unaligned[index * PAGE : (index + 1) * PAGE]), range(SEGMENTS)))  # noqa: B023
        # none was closed under the feet of another thread
        assert len(os.listdir("/proc/self/fd")) == descriptors
        part.close()
        assert part.path.read_bytes() == content
