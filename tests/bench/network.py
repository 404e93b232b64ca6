"""Nodes and a hub with links of their own on one machine: network namespaces where root is had, addresses of the loopback elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

#: Megabits a second: what leaves the hub, and each node's link in both directions.
HUB_MBIT, LINK_MBIT = 300, 1000

_BRIDGE = "slipbr0"


class Network:
    """A hub and nodes, each with an address; removed by `close`.

    Args:
        nodes: How many.

    Attributes:
        shaped: Whether links are shaped by the kernel; without root the hub has to keep to its rate itself, and the nodes' links are not.
    """

    def __init__(self, nodes: int) -> None:
        self.shaped = os.geteuid() == 0
        self._names = [_name(number) for number in range(nodes + 1)]
        if self.shaped:
            self.close()
            _run("ip", "link", "add", _BRIDGE, "type", "bridge")
            _run("ip", "link", "set", _BRIDGE, "up")
            for number in range(nodes + 1):
                self._join(number)

    @property
    def hub(self) -> str:
        """The hub's address."""
        return self._address(0)

    def node(self, number: int) -> str:
        """A node's address."""
        return self._address(number + 1)

    def on_hub(self, command: Sequence[str]) -> list[str]:
        """The command, as the hub runs it."""
        return self._inside(0, command)

    def on_node(self, number: int, command: Sequence[str]) -> list[str]:
        """The command, as a node runs it."""
        return self._inside(number + 1, command)

    def close(self) -> None:
        """Remove all of it."""
        if not self.shaped:
            return
        for number in range(len(self._names)):
            subprocess.run(["ip", "netns", "del", _name(number)], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", _BRIDGE], capture_output=True, check=False)

    def _address(self, number: int) -> str:
        return f"10.211.0.{number + 1}" if self.shaped else f"127.9.0.{number + 1}"

    def _inside(self, number: int, command: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", _name(number), *command] if self.shaped else list(command)

    def _join(self, number: int) -> None:
        name, outer = _name(number), f"slipv{number}"
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "set", outer, "master", _BRIDGE)
        _run("ip", "link", "set", outer, "up")
        for inside in (
            ("addr", "add", f"{self._address(number)}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
        ):
            _run("ip", "-n", name, *inside)
        leaving = HUB_MBIT if number == 0 else LINK_MBIT
        for prefix, device, rate in (((), outer, LINK_MBIT), (("-n", name), "eth0", leaving)):
            _run("tc", *prefix, "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{rate}mbit", "burst", "256kb", "latency", "100ms")


def _name(number: int) -> str:
    return "slip-hub" if number == 0 else f"slip-{number - 1}"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
