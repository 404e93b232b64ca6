"""Runs a command that may write beneath the given folders only: `python -I -S confine.py FOLDER… -- COMMAND…`.

The kernel's Landlock holds it to that, with everything that it starts, whoever it runs as; no root and no mount namespace is needed.
This file is both the program and the question whether the kernel can; it uses the standard library alone, since it starts with each
container.

What Landlock does not hold back: changes of a file's mode, owner, times and extended attributes.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Sequence

# linux/landlock.h
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
#: Removing folders and files, making each kind of file, and linking or moving from one folder to another.
_CHANGE_FOLDERS = sum(1 << bit for bit in range(4, 14))
#: What a rule for a single file may speak of.
_FILE = _WRITE_FILE | _TRUNCATE
_WRITING = _FILE | _CHANGE_FOLDERS
#: The first version that holds back the truncating of files, without which a read-only file could be emptied.
_NEEDED_VERSION = 3
_NO_NEW_PRIVILEGES = 38  # linux/prctl.h


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


@functools.cache
def available() -> bool:
    """Whether this kernel can hold a program to the folders that it may write to."""
    return sys.platform == "linux" and int(_libc().syscall(_CREATE_RULESET, None, 0, _ASK_VERSION)) >= _NEEDED_VERSION


def restrict(folders: Sequence[str]) -> None:
    """Allow this thread, and all that it starts, to write beneath the folders (or to the files) and nowhere else; for good.

    Raises:
        OSError: The kernel refused.
    """
    libc = _libc()
    ruleset = _Ruleset(_WRITING)
    rules = _check(libc.syscall(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0))
    for folder in folders:
        place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        rule = _PathBeneath(_WRITING if os.path.isdir(folder) else _FILE, place)
        _check(libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(rule), 0))
        os.close(place)
    _check(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _check(libc.syscall(_RESTRICT_SELF, rules, 0))
    os.close(rules)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


if __name__ == "__main__":
    end = sys.argv.index("--")
    restrict(sys.argv[1:end])
    # As it was given: the interpreter has set variables of its own since (LC_CTYPE).
    with open("/proc/self/environ", "rb") as given:
        environment = dict(entry.split(b"=", 1) for entry in given.read().split(b"\0") if b"=" in entry)
    os.execvpe(sys.argv[end + 1], sys.argv[end + 1 :], environment)  # noqa: S606 - a container's command, without a shell
