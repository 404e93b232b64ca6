"""A cluster that is not the sandbox's own, for `make test-cluster`: what was asked for, and whether it can be had."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.helm import kubectl_executable
from sandbox.kubernetes.meta.kubeconfig import read_kubeconfig

ANSWER_SECONDS = 10


class ClusterUnusable(Exception):
    """No cluster can be tested in the way that was asked for; the message says why, in one sentence."""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """The cluster to test.

    Attributes:
        kubeconfig: How to reach it: one context, with everything in the file itself.
        brings_node: Whether the sandbox's node agent is to join it.
        subnet: The network of that node and its pods; None for loopback addresses.
    """

    kubeconfig: Path
    brings_node: bool
    subnet: str | None

    @property
    def address(self) -> str | None:
        """An address of this machine that the API server reaches; None if nobody has named one."""
        return str(ipaddress.IPv4Network(self.subnet)[-2]) if self.subnet else None


def add_options(parser: pytest.Parser) -> None:
    """The options that `make test-cluster` sets from its variables."""
    group = parser.getgroup("cluster", "a cluster that is not the sandbox's own")
    group.addoption("--kubeconfig", help="test the cluster that this kubeconfig reaches (paths, as in $KUBECONFIG)")
    group.addoption("--sandbox-node", action="store_true", help="let the sandbox's node agent join it")
    group.addoption("--sandbox-subnet", help="the network of that node and its pods, e.g. 10.99.0.0/24")


def asked_for(config: pytest.Config) -> Outside | None:
    """The cluster that the options name, once it has answered.

    Raises:
        pytest.UsageError: It cannot be reached, or not in this way.
    """
    named = config.getoption("--kubeconfig")
    if named is None:
        return None
    folder = tempfile.TemporaryDirectory(prefix="slipway-cluster-")
    config.add_cleanup(folder.cleanup)
    try:
        return find_outside(
            named,
            Path(folder.name),
            brings_node=bool(config.getoption("--sandbox-node")),
            subnet=config.getoption("--sandbox-subnet"),
        )
    except ClusterUnusable as exc:
        raise pytest.UsageError(str(exc)) from exc


def find_outside(named: str, folder: Path, *, brings_node: bool = False, subnet: str | None = None) -> Outside:
    """Make sure that the cluster of a kubeconfig answers.

    Args:
        named: The value of `KUBECONFIG`: one path, or several with colons between them.
        folder: Where the one context that is used is written to.
        brings_node: Whether the sandbox's node agent is to join.
        subnet: The network of that node and its pods.

    Raises:
        ClusterUnusable: It cannot be reached, or not in this way.
    """
    if not named:
        raise ClusterUnusable("KUBECONFIG is not set: name the kubeconfig of the cluster to test, as in KUBECONFIG=PATH make test-cluster.")
    kubeconfig = folder / "kubeconfig"
    flattened = _kubectl(folder, named, named, "config", "view", "--raw", "--minify", "--flatten")
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(flattened)
    try:
        read_kubeconfig(kubeconfig)
    except ValueError as exc:
        raise ClusterUnusable(str(exc).replace(str(kubeconfig), named)) from exc
    version = _kubectl(folder, named, str(kubeconfig), "get", "--raw", "/version", f"--request-timeout={ANSWER_SECONDS}s")
    if subnet is not None:
        _check_subnet(subnet)
    elif brings_node and "+sandbox" not in version:
        raise ClusterUnusable(
            "SANDBOX_NODE=yes needs SANDBOX_SUBNET: a real API server reaches no pods at loopback addresses; see sandbox/README.md."
        )
    return Outside(kubeconfig=kubeconfig, brings_node=brings_node, subnet=subnet)


def _kubectl(folder: Path, named: str, kubeconfig: str, *arguments: str) -> str:
    command = [str(kubectl_executable()), *arguments]
    # Without a home folder kubectl would keep its cache in the working directory.
    environment = {"KUBECONFIG": kubeconfig, "KUBECACHEDIR": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=ANSWER_SECONDS + 20)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1].removeprefix("error: ").rstrip(".")
        raise ClusterUnusable(f"No cluster answers by the kubeconfig {named}: {why}.")
    return done.stdout


def _check_subnet(subnet: str) -> None:
    try:
        address = str(ipaddress.IPv4Network(subnet)[-2])
    except (ValueError, IndexError) as exc:
        raise ClusterUnusable(f"SANDBOX_SUBNET {subnet} is no IPv4 network of several addresses, such as 10.99.0.0/24.") from exc
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError as exc:
            raise ClusterUnusable(f"SANDBOX_SUBNET {subnet}: this machine does not answer for {address}; see sandbox/README.md.") from exc
