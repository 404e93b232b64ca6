"""Run an API server with its controllers and without a node, as `envtest` and KWOK do; nodes join it by its kubeconfig.

`python -m sandbox.kubernetes --folder …`
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path

from sandbox.kubernetes.cluster import Cluster
from sandbox.serving import LoopThread


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. The one line of output is the path of the kubeconfig, once the server answers."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.kubernetes", description="Run a stand-in API server with its controllers.")
    parser.add_argument("--folder", type=Path, required=True, help="where the kubeconfig and the certificate authority are written")
    parser.add_argument("--port", type=int, default=0, help="the port on 127.0.0.1; a free one by default")
    given = parser.parse_args(arguments)
    stopping = {signal.SIGINT, signal.SIGTERM}
    # Blocked in every thread from here on, so that this one can wait for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    with LoopThread("kubernetes") as loop, Cluster(given.folder.resolve(), loop, nodes=(), images={}, port=given.port) as cluster:
        print(cluster.kubeconfig, flush=True)
        signal.sigwait(stopping)


if __name__ == "__main__":
    main()
