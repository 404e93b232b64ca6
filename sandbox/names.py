"""Names of headless Services, as the programs of a stand-in cluster's containers look them up: each a file with its pods' addresses.

`write` keeps one, and `follow` has this process look there before it asks the machine's name servers. Only programs that are forks
(`sandbox.forks`) do: a name in the arguments of any other is not found. Not emulated: DNS itself (records of ports and single pods, how
long an answer is kept, search lists), names of Services with an address of their own, and `.svc` with a cluster's domain behind it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Tells a container's program in which folder the names are.
VARIABLE = "SANDBOX_NAMES"


def file_of(key: str) -> str:
    """The file of a Service that has this key (`NAMESPACE/NAME`): the name that pods ask for."""
    namespace, _, name = key.partition("/")
    return f"{name}.{namespace}.svc"


def write(path: Path, addresses: Sequence[str]) -> None:
    """Have a name lead to these addresses; at once, whoever reads it meanwhile."""
    path.parent.mkdir(exist_ok=True)
    draft = path.with_name(f".{path.name}")
    draft.write_text("\n".join(addresses))
    draft.replace(path)


def follow(folder: Path) -> None:
    """Look names up in the folder from now on, in this process; what is not there is asked as before."""
    ask = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> list[Any]:
        path = folder / host if isinstance(host, str) and host.endswith(".svc") and os.sep not in host else None
        if path is None or not path.is_file():
            return ask(host, port, *rest, **more)
        found = [answer for address in path.read_text().split() for answer in ask(address, port, *rest, **more)]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no pod has an address yet")
        return found

    socket.getaddrinfo = getaddrinfo
