"""Addresses of nodes and pods out of 127.0.0.0/8, all of which is the machine itself on Linux."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator

from sandbox.kubernetes.meta.certificates import certificate_files, self_signed
from sandbox.kubernetes.node.server import Finder, kubelet_app
from sandbox.serving import HttpServer, LoopThread

KUBELET_PORT = 10250
ATTEMPTS = 100


class Subnet:
    """The addresses of one node: the first is the node's own, the others go to pods in turn.

    Args:
        network: An IPv4 network, e.g. `127.20.3.0/24`.
    """

    def __init__(self, network: str) -> None:
        self.network = ipaddress.IPv4Network(network)
        self.node_ip = str(self.network[1])
        self._order = self._turns()

    def _turns(self) -> Iterator[str]:
        while True:
            for number in range(2, self.network.num_addresses - 1):
                yield str(self.network[number])

    def take(self, taken: set[str]) -> str:
        """An address that is not taken; those used longest ago come first, so that a new pod never inherits a closing socket.

        Raises:
            RuntimeError: All are taken.
        """
        for _ in range(self.network.num_addresses):
            address = next(self._order)
            if address not in taken:
                return address
        raise RuntimeError(f"no address is free in {self.network}")


def claim(network: str | None, find: Finder, loop: LoopThread) -> tuple[Subnet, HttpServer]:
    """Take a subnet by listening on its first address as a kubelet; without a wish, one that nobody on this machine has.

    Raises:
        OSError: The wanted subnet is in use.
    """
    # An API server speaks TLS with a kubelet and, unless it was told whom to trust, does not ask who signed its certificate.
    with certificate_files(self_signed("kubelet")) as files:
        if network is not None:
            subnet = Subnet(network)
            return subnet, HttpServer(kubelet_app(find), loop, host=subnet.node_ip, port=KUBELET_PORT, certificate=files)
        for attempt in range(ATTEMPTS):
            # Several test processes run worlds side by side: whoever listens on the kubelet's port owns the subnet.
            subnet = Subnet(f"127.{random.randint(16, 250)}.{random.randint(1, 250)}.0/24")  # noqa: S311
            try:
                return subnet, HttpServer(kubelet_app(find), loop, host=subnet.node_ip, port=KUBELET_PORT, certificate=files)
            except OSError:
                if attempt == ATTEMPTS - 1:
                    raise
    raise AssertionError("unreachable")
