"""`make bench-spread`: one download for all nodes, against today's way (each node its own) and `hf download` on each node.

A hub whose egress is 300 Mbit/s and nodes with links of 1 Gbit/s (network namespaces and `tc`; without root the hub keeps to its rate by
itself); 1 GiB in four files; one, four and eight nodes, methods in turns, medians of three. One JSON line a method and number of nodes in
`build/bench-spread.json`. Seconds are those until the last node has everything, verified and on the disk; CPU is a node's, user and system.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blocks.hub import Hub as HubBlock
from flows.node.layout import snapshot_folder
from flows.node.sharing.bucket import Bucket
from flows.weights.secret import share_secret
from sandbox.hub import Hub
from sandbox.serving import LoopThread
from tests.bench.cdn import Cdn
from tests.bench.network import HUB_MBIT, Network

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "slipway-demo/bench"
MIB = 1 << 20
PORT = 8444


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run took: seconds, what the hub sent in snapshots, CPU seconds of a node (mean), and the largest node's memory in MB.

    `uneven` is what the node that gave most gave of what all gave on average; 0 if nobody gave anything.
    """

    seconds: float
    hub_share: float
    cpu: float
    rss_mb: float
    uneven: float


def serve(folder: Path, host: str, files: int, file_bytes: int, *, shaped: bool) -> None:
    """Be the hub: print what is to be fetched, then what was sent for each line that is read."""
    loop = LoopThread()
    hub = Hub(folder, loop, host=host)
    hub.start()
    bucket = Bucket(None if shaped else HUB_MBIT * 1e6 / 8)
    cdn = Cdn(folder / "blobs", host, bucket.take)
    hub.cdn_url = cdn.url
    shards = {}
    for number in range(files):
        path = folder / f"model-{number}.safetensors"
        with path.open("wb") as file:
            for _ in range(file_bytes // MIB):
                file.write(os.urandom(MIB))
        shards[path.name] = path
    commit = hub.add(REPOSITORY, {**shards, "config.json": b"{}"})
    with HubBlock(endpoint=hub.url).client() as client:
        found = [asdict(file) for file in client.commit(REPOSITORY, commit).files]
    print(json.dumps({"url": hub.url, "repository": REPOSITORY, "commit": commit, "files": found}), flush=True)
    for _ in sys.stdin:
        print(cdn.sent_bytes, flush=True)


class Bench:
    """The hub, the nodes, and the programs that fetch.

    Args:
        folder: Where everything lies; on the disk that is measured.
        network: The links.
        files: How many files.
        file_bytes: The size of each.
    """

    def __init__(self, folder: Path, network: Network, files: int, file_bytes: int) -> None:
        self.folder, self.network = folder, network
        (folder / "hub").mkdir()
        hub = [sys.executable, "-m", "tests.bench.spread", "--serve", str(folder / "hub"), "--host", network.hub]
        hub += ["--files", str(files), "--mib", str(file_bytes // MIB), *(["--shaped"] if network.shaped else [])]
        self._hub = subprocess.Popen(network.on_hub(hub), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._hub.stdout is not None
        found = json.loads(self._hub.stdout.readline())
        self.commit = found["commit"]
        self.size_bytes = sum(file["size_bytes"] for file in found["files"])
        self._request = folder / "request.json"
        self._request.write_text(json.dumps({key: found[key] for key in ("repository", "commit", "files")}))
        self._secret = folder / "secret"
        self._secret.mkdir()
        for name, text in share_secret().items():
            (self._secret / name).write_text(text)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "HF_ENDPOINT": found["url"],
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_XET": "1",
        }

    def alone(self, number: int, _nodes: int) -> list[str]:
        """Today's way: each node for itself."""
        return [
            *(sys.executable, "-m", "flows.node", "fetch", "--request", str(self._request), "--store", str(self.store(number))),
            *("--reserve-percent", "0"),
        ]

    def shared(self, number: int, nodes: int) -> list[str]:
        """Nodes that share; one node alone has nobody to share with, as the pipeline tells it."""
        if nodes == 1:
            return self.alone(number, nodes)
        others = [word for other in range(nodes) for word in ("--share-with", f"{self.network.node(other)}:{PORT}")]
        return [
            *self.alone(number, nodes),
            *("--share-secret", str(self._secret), "--share-rank", str(number), "--share-nodes", str(nodes)),
            *("--share-bind", f"{self.network.node(number)}:{PORT}", *others),
        ]

    def hf(self, number: int, _nodes: int) -> list[str]:
        """The hub client's command line; it neither verifies nor syncs."""
        program = str(Path(sys.executable).parent / "hf")
        return [program, "download", REPOSITORY, "--revision", self.commit, "--local-dir", str(self.store(number)), "--quiet"]

    def store(self, number: int) -> Path:
        """A node's folder."""
        return self.folder / f"node-{number}"

    def clear(self) -> None:
        """Empty all nodes."""
        for path in self.folder.glob("node-*"):
            shutil.rmtree(path)
        subprocess.run(["sync"], check=True)  # what is left to write is not the next one's

    def run(self, command: Callable[[int, int], list[str]], nodes: int) -> Run:
        """Run a program on all nodes, to the end of the last."""
        before, begin = self._sent(), time.monotonic()
        processes = []
        for number in range(nodes):
            environment = {**self._environment, "HF_HOME": str(self.store(number) / "home")}
            said = (self.folder / f"said-{number}").open("w+")
            words = self.network.on_node(number, command(number, nodes))
            processes.append((subprocess.Popen(words, env=environment, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT), said))
        cpu, rss, seconds = [], [], 0.0
        given = [0] * nodes
        waiting = {process.pid: (process, said) for process, said in processes}
        while waiting:
            pid, status, used = os.wait4(-1, 0)
            if pid not in waiting:
                continue
            process, said = waiting.pop(pid)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.monotonic() - begin
            with said:
                said.seek(0)
                lines = said.read().splitlines()
            if process.returncode != 0:
                raise RuntimeError(f"{command.__name__} failed: {lines}")
            for rank, size_bytes in _from_peers(lines[-1:]).items():
                given[rank] += size_bytes
            cpu.append(used.ru_utime + used.ru_stime)
            rss.append(used.ru_maxrss / 1000)
        return Run(
            seconds=seconds,
            hub_share=(self._sent() - before) / self.size_bytes,
            cpu=statistics.mean(cpu),
            rss_mb=max(rss),
            uneven=max(given) / (sum(given) / nodes) if sum(given) else 0.0,
        )

    def complete(self, number: int) -> bool:
        """Whether a node has the snapshot, by an independent hash of every file."""
        folder = self.store(number) / snapshot_folder(REPOSITORY, self.commit)
        wanted = {line["path"]: line["digest"] for line in json.loads(self._request.read_text())["files"] if line["algorithm"] == "sha256"}
        return all(_openssl_sha256(folder / path) == digest for path, digest in wanted.items())

    def close(self) -> None:
        """Stop the hub."""
        assert self._hub.stdin is not None
        self._hub.stdin.close()
        self._hub.kill()
        self._hub.wait()

    def _sent(self) -> int:
        assert self._hub.stdin is not None
        assert self._hub.stdout is not None
        self._hub.stdin.write("\n")
        self._hub.stdin.flush()
        return int(self._hub.stdout.readline())


def _from_peers(lines: Sequence[str]) -> dict[int, int]:
    """Bytes that a node had from each of the others, by their number, as its last word has it; the hub client's has nothing."""
    if not lines or not lines[0].startswith("{"):
        return {}
    return {int(rank): size_bytes for rank, size_bytes in json.loads(lines[0]).get("peer_bytes", {}).items()}


def _openssl_sha256(path: Path) -> str:
    done = subprocess.run(["openssl", "dgst", "-sha256", "-r", str(path)], capture_output=True, text=True, check=True)
    return done.stdout.split()[0]


def measure(bench: Bench, counts: Sequence[int], rounds: int, methods: Sequence[str]) -> list[dict[str, Any]]:
    """All methods in turns; a line for each and each number of nodes, with its medians."""
    commands = {"slipway": bench.shared, "each for itself": bench.alone, "hf download": bench.hf}
    commands = {name: command for name, command in commands.items() if name in methods}
    runs: dict[tuple[str, int], list[Run]] = {(name, nodes): [] for nodes in counts for name in commands}
    for number in range(rounds):
        for name, nodes in list(runs):
            if name not in commands:
                continue
            bench.clear()
            done = bench.run(commands[name], nodes)
            runs[name, nodes].append(done)
            print(f"round {number + 1}: {name} × {nodes}: {done}", file=sys.stderr, flush=True)
            if name == "slipway" and not all(bench.complete(each) for each in range(nodes)):
                raise RuntimeError("the bytes on the disk are not those of the hub")
            if name == "slipway" and nodes == max(counts):
                later = bench.run(bench.shared, nodes + 1)
                runs.setdefault(("slipway, one more node", nodes + 1), []).append(later)
                print(f"round {number + 1}: one more: {later}", file=sys.stderr, flush=True)
    return [
        {
            "method": name,
            "nodes": nodes,
            **{
                field: round(statistics.median(getattr(run, field) for run in found), 3)
                for field in ("seconds", "hub_share", "cpu", "uneven")
            },
            "rss_mb": round(max(run.rss_mb for run in found)),
            "runs_seconds": [round(run.seconds, 1) for run in found],
        }
        for (name, nodes), found in runs.items()
        if found
    ]


def missed(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """The bars that these lines do not meet."""
    of = {(line["method"], line["nodes"]): line for line in lines}
    most = max(nodes for name, nodes in of if name == "slipway")
    one, many = of["slipway", 1], of["slipway", most]
    more = next(line for (name, _), line in of.items() if name == "slipway, one more node")
    bars = {
        f"the hub sends 1.05 × the model at most for {most} nodes": many["hub_share"] <= 1.05,
        f"{most} nodes take 1.25 × of one at most": many["seconds"] <= 1.25 * one["seconds"],
        f"CPU of one of {most} nodes is 1.5 × of one alone at most": many["cpu"] <= 1.5 * one["cpu"],
        "one more node afterwards asks the hub for nothing": more["hub_share"] == 0,
        "less than 150 MB of memory": max(line["rss_mb"] for (name, _), line in of.items() if name.startswith("slipway")) < 150,
    }
    if (before := of.get(("each for itself", 1))) is not None:
        bars["one node is not slower than each for itself"] = one["seconds"] <= 1.03 * before["seconds"]
    return [name for name, met in bars.items() if not met]


def main() -> int:
    """Measure, print and write the lines; 1 if a bar is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--mib", type=int, default=256, help="size of each file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--methods", nargs="+", default=["slipway", "each for itself", "hf download"])
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench-spread.json")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--host", help=argparse.SUPPRESS)
    parser.add_argument("--shaped", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.host, options.files, options.mib * MIB, shaped=options.shaped)
        return 0
    options.output.parent.mkdir(exist_ok=True)
    network = Network(max(options.nodes) + 1)
    try:
        with tempfile.TemporaryDirectory(dir=options.output.parent) as folder:
            bench = Bench(Path(folder), network, options.files, options.mib * MIB)
            try:
                lines = measure(bench, options.nodes, options.rounds, options.methods)
            finally:
                bench.close()
    finally:
        network.close()
    text = "".join(json.dumps({**line, "shaped": network.shaped}) + "\n" for line in lines)
    options.output.write_text(text)
    print(text, end="")
    for bar in missed(lines):
        print(f"missed: {bar}", file=sys.stderr)
    return 1 if missed(lines) else 0


if __name__ == "__main__":
    sys.exit(main())
