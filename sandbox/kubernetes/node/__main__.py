"""Run one node agent by itself, against any API server.

`python -m sandbox.kubernetes.node --kubeconfig … --name … --images … --folder …`
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path

from sandbox.kubernetes.meta.client import HttpClient
from sandbox.kubernetes.node.agent import NodeAgent
from sandbox.kubernetes.node.images import load_images
from sandbox.kubernetes.node.spec import GIB, AgentOptions, NodeSpec
from sandbox.serving import LoopThread


def main(arguments: Sequence[str] | None = None) -> None:
    """Join the cluster and stay until SIGTERM or SIGINT; containers end with the agent."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.kubernetes.node", description="Join a cluster as a stand-in node.")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="how to reach the API server (its current context)")
    parser.add_argument("--name", required=True, help="the node's name")
    parser.add_argument("--images", type=Path, required=True, help='JSON: image repository → {"command": [...], "env": {...}}')
    parser.add_argument("--folder", type=Path, required=True, help="where the node keeps its disk, pods and logs")
    parser.add_argument("--subnet", help="addresses of the node and its pods, e.g. 127.20.1.0/24; a free one by default")
    parser.add_argument("--gpus", type=int, default=1, help="how many nvidia.com/gpu it claims")
    parser.add_argument("--memory-gib", type=int, default=64, help="the memory it claims")
    parser.add_argument("--cpus", type=int, default=16, help="the CPUs it claims")
    parser.add_argument("--label", action="append", default=[], help="KEY=VALUE; may be given again")
    parser.add_argument("--taint", action="append", default=[], help="KEY=VALUE:EFFECT; may be given again")
    parser.add_argument("--restart-backoff-seconds", type=float, default=10.0, help="the first wait before a crashed container restarts")
    given = parser.parse_args(arguments)

    stopping = {signal.SIGINT, signal.SIGTERM}
    # Blocked in every thread from here on, so that this one can wait for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    with LoopThread("node") as loop:
        client = loop.run(_client(given.kubeconfig))
        agent = NodeAgent(
            client,
            loop,
            NodeSpec(
                name=given.name,
                gpus=given.gpus,
                memory_bytes=given.memory_gib * GIB,
                cpus=given.cpus,
                labels=dict(text.split("=", 1) for text in given.label),
                taints=tuple(_taint(text) for text in given.taint),
            ),
            images=load_images(given.images),
            folder=given.folder,
            options=AgentOptions(restart_backoff_seconds=given.restart_backoff_seconds),
            subnet=given.subnet,
        )
        agent.start()
        signal.sigwait(stopping)
        agent.stop()
        loop.run(client.close())


def _taint(text: str) -> dict[str, str]:
    """A taint as `kubectl taint` writes it: `key=value:Effect`, or `key:Effect` without a value."""
    pair, _, effect = text.rpartition(":")
    key, equals, value = pair.partition("=")
    return {"key": key, "effect": effect} | ({"value": value} if equals else {})


async def _client(kubeconfig: Path) -> HttpClient:
    return HttpClient.from_kubeconfig(kubeconfig)


if __name__ == "__main__":
    main()
