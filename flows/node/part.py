"""One content under way: preallocated, written in segments from several connections, with a journal of those that are there.

The journal is for a killed process: the kernel still has what was written. After a power loss a segment that the journal names may be
torn; that shows when the whole is hashed, and bytes of an earlier process are then not believed but fetched again.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
from pathlib import Path


class Part:
    """A content's file while it is being fetched. Segments may be written by several threads.

    Args:
        path: Where it is; the journal lies beside it.
        size_bytes: The content's size.
        segment_bytes: How it is divided; a multiple of the page size.

    Attributes:
        kept: Segments that an earlier process has left.
        noted: What that process noted of some of them.
    """

    def __init__(self, path: Path, size_bytes: int, segment_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self.segment_bytes = segment_bytes
        self.kept: set[int] = set()
        self.noted: dict[int, str] = {}
        self._journal = journal_of(path)
        self._file = -1
        self._direct = -1
        self._past_cache = False
        self._notes = -1

    @property
    def _head(self) -> str:
        return json.dumps({"size_bytes": self.size_bytes, "segment_bytes": self.segment_bytes})

    @property
    def segments(self) -> int:
        """How many there are; an empty content has one that is empty."""
        return max(1, -(-self.size_bytes // self.segment_bytes))

    def span(self, index: int) -> tuple[int, int]:
        """A segment's offset and length."""
        start = index * self.segment_bytes
        return start, min(self.segment_bytes, self.size_bytes - start)

    def open(self) -> None:
        """Open it, and read from the journal what is there already."""
        allocate(self.path, self.size_bytes)
        self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self._open_direct()
        head = self._head
        lines = self._journal.read_text().split("\n")[:-1] if self._journal.exists() else []  # a line without its end is none
        # Written for segments of another size: its numbers would mean other bytes.
        if not lines or lines[0] != head:
            self._journal.write_text(head + "\n")
            lines = [head]
        for line in lines[1:]:
            index, _, note = line.partition(" ")
            self.kept.add(int(index))
            self.noted[int(index)] = note
        self._notes = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def _open_direct(self) -> None:
        try:
            # Past the page cache: buffered writes of several threads into one file ran at 277 to 787 MB/s, these steadily at 774. Also
            # where it is read again soon, as it is given to others: to copy it there first took a fifth of such a node's processor time.
            self._direct = os.open(self.path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
            self._past_cache = True
        except OSError as exc:
            if exc.errno != errno.EINVAL:  # this file system has no such thing
                raise

    def write(self, index: int, view: memoryview, note: str = "") -> None:
        """Write a segment and note it. `view` should begin on a page: what can then goes past the page cache.

        Args:
            index: Its number.
            view: Its bytes.
            note: A word about it, for the process that finds it.
        """
        start, length = self.span(index)
        done = 0
        if self._past_cache:
            # O_DIRECT takes whole pages only: the rest of the last segment goes the other way.
            whole = length - length % mmap.PAGESIZE
            try:
                done = _write(self._direct, view[:whole], start)
            except OSError as exc:
                if exc.errno != errno.EINVAL:
                    raise
                # Some file systems take the flag and refuse the write: from here on everything goes through the page cache. Not closed
                # before the end: another thread may be about to write by this number, which the next file that is opened would get.
                self._past_cache = False
        _write(self._file, view[done:length], start + done)
        # After the bytes, and appended in one write: killed in between, the segment is only fetched again.
        os.write(self._notes, f"{index} {note}".rstrip().encode() + b"\n")

    def read(self, index: int, view: memoryview) -> int:
        """Read a segment back; its length."""
        start, length = self.span(index)
        done = 0
        while done < length:
            done += os.preadv(self._file, [view[done:length]], start + done)
        return length

    def distrust(self) -> None:
        """Forget which segments are there; their places are written over."""
        self.kept, self.noted = set(), {}
        os.ftruncate(self._notes, 0)
        os.write(self._notes, f"{self._head}\n".encode())

    def sync(self) -> None:
        """Have all of it on the disk."""
        os.fsync(self._file)

    def give_up(self) -> None:
        """Delete it while other threads may still write to it: they write to what nobody will see."""
        discard(self.path)
        if self._file >= 0:
            # Threads that have it open would keep its room on the disk, which the copy in one piece needs now.
            os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Close it; what is there stays for the next attempt."""
        for descriptor in (self._file, self._direct, self._notes):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._direct = self._notes = -1
        self._past_cache = False

    def discard(self) -> None:
        """Delete it."""
        self.close()
        discard(self.path)


def journal_of(path: Path) -> Path:
    """The journal of a part."""
    return path.with_name(f"{path.name}.journal")


def whole_of(path: Path) -> Path:
    """Where the content lies that comes in one piece."""
    return path.with_name(f"{path.name}.whole")


def allocate(path: Path, size_bytes: int) -> None:
    """Have a file of that size on the disk, so that no later write finds the disk full.

    Raises:
        OSError: There is no room.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size > size_bytes:
            os.ftruncate(descriptor, size_bytes)
        if size_bytes:
            # Not a truncate: that makes holes, and somebody else could take the room before they are written.
            os.posix_fallocate(descriptor, 0, size_bytes)
    finally:
        os.close(descriptor)


def discard(path: Path) -> None:
    """Delete a part and what belongs to it; the journal first, as it speaks of the part."""
    journal_of(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    whole_of(path).unlink(missing_ok=True)


def _write(descriptor: int, view: memoryview, offset: int) -> int:
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)
    return done
