"""`make bench-prefetch`: the fetch program against `curl` and `hf download`, server and client on this machine.

4 × 512 MiB, methods in turns, medians of three; one JSON line for each method in `build/bench-prefetch.json`. The server sends from the
page cache by `sendfile`, and its hub is the sandbox's. Then the same through a proxy with a password (a process of its own), and one file
by the hub's own protocol (xet), whose stand-in is slower than either program.
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
from sandbox.hub import Hub
from sandbox.serving import LoopThread
from tests.bench.cdn import Cdn

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "slipway-demo/bench"
MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a program: wall-clock seconds, and its peak resident memory."""

    seconds: float
    rss_mb: float


@dataclass(frozen=True, kw_only=True)
class Method:
    """A program that fetches: its command for a folder, what its environment has beside the others', and whether it hashes what comes."""

    command: Callable[[Path], list[str]]
    proxied: bool = False
    verified: bool = False


class Bench:
    """A hub with one model of random bytes, and the programs that fetch it.

    Args:
        folder: Where everything lies; on the disk that is measured.
        files: How many files.
        file_bytes: The size of each.
    """

    def __init__(self, folder: Path, files: int, file_bytes: int) -> None:
        self.folder = folder
        self._loop = LoopThread()
        self._hub = Hub(folder / "hub", self._loop)
        self._hub.start()
        self.cdn = Cdn(folder / "hub" / "blobs")
        self._hub.cdn_url = self.cdn.url
        shards = {}
        for number in range(files):
            path = folder / f"model-{number}.safetensors"
            with path.open("wb") as file:
                for _ in range(file_bytes // MIB):
                    file.write(os.urandom(MIB))
            shards[path.name] = path
        self.commit = self._hub.add(REPOSITORY, {**shards, "config.json": b"{}"})
        for path in shards.values():
            path.unlink()
        with HubBlock(endpoint=self._hub.url).client() as client:
            found = client.commit(REPOSITORY, self.commit)
        self.files = [file.path for file in found.files if file.path.endswith(".safetensors")]
        self.size_bytes = sum(file.size_bytes for file in found.files)
        self._proxy = subprocess.Popen(
            [sys.executable, "-m", "tests.support.proxy", "bench", "p@ss:word"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._proxy.stdout is not None
        self.proxy_url = self._proxy.stdout.readline().strip()
        self._request = folder / "request.json"
        lines = [{"path": f.path, "size_bytes": f.size_bytes, "digest": f.digest, "algorithm": f.algorithm} for f in found.files]
        self._request.write_text(json.dumps({"repository": REPOSITORY, "commit": self.commit, "files": lines}))
        self.environment = {
            **os.environ,
            "HF_ENDPOINT": self._hub.url,
            "HF_HOME": str(folder / "home"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_XET": "1",
        }

    @property
    def requests(self) -> int:
        """Requests to both origins so far."""
        return len(self._hub.requests) + self.cdn.requests

    def fetch(self, store: Path) -> list[str]:
        """Our command."""
        return [
            *(sys.executable, "-m", "flows.node", "fetch", "--request", str(self._request), "--store", str(store)),
            *("--reserve-percent", "0"),
        ]

    def curl(self, target: Path) -> list[str]:
        """Curl, which takes one file after another, as it is told."""
        urls = [f"{self._hub.url}/{REPOSITORY}/resolve/{self.commit}/{name}" for name in self.files]
        return ["curl", "--silent", "--show-error", "--fail", "--location", "--remote-name-all", "--output-dir", str(target), *urls]

    def hf(self, target: Path) -> list[str]:
        """The hub client's command line."""
        hf = Path(sys.executable).parent / "hf"
        return [str(hf), "download", REPOSITORY, "--revision", self.commit, "--local-dir", str(target), "--quiet"]

    def run(self, command: Sequence[str], *, proxied: bool = False) -> Run:
        """Run a command to its end."""
        variables = {"http_proxy": self.proxy_url, "no_proxy": "", "NO_PROXY": ""} if proxied else {}
        subprocess.run(["sync"], check=True)  # what the run before has left to write is not this one's
        begin = time.monotonic()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, env={**self.environment, **variables}, cwd=ROOT, stdout=said, stderr=said)
            rss_kb = 0
            while process.poll() is None:
                rss_kb = max(rss_kb, _peak_kb(process.pid))
                time.sleep(0.005)
            seconds = time.monotonic() - begin
            if process.returncode != 0:
                said.seek(0)
                raise RuntimeError(f"{command[0]} failed: {said.read().decode()}")
        return Run(seconds=seconds, rss_mb=rss_kb / 1000)

    def killed_at_half(self, store: Path) -> float:
        """Kill our program when half has been sent, run it again, and return the share that was sent twice."""
        before = self.cdn.sent_bytes
        process = subprocess.Popen(self.fetch(store), env=self.environment, cwd=ROOT, stdout=subprocess.DEVNULL)
        while self.cdn.sent_bytes - before < self.size_bytes / 2:
            time.sleep(0.001)
        process.kill()
        process.wait()
        self.run(self.fetch(store))
        return (self.cdn.sent_bytes - before) / self.size_bytes - 1

    def by_xet(self, mib: int) -> dict[str, Any]:
        """One file by the hub's own protocol, in segments of 4 MiB; and what is sent again if that is killed at half."""
        path = self.folder / "model.safetensors"
        path.write_bytes(os.urandom(mib * MIB))
        commit = self._hub.add(f"{REPOSITORY}-xet", {"model.safetensors": path}, xet=True)
        with HubBlock(endpoint=self._hub.url).client() as client:
            (file,) = client.commit(f"{REPOSITORY}-xet", commit).files
        request = self.folder / "xet.json"
        request.write_text(json.dumps({"repository": f"{REPOSITORY}-xet", "commit": commit, "files": [asdict(file)]}))
        store = self.folder / "xet"
        command = [*self.fetch(store), "--request", str(request), "--plain-limit-bytes", "1", "--segment-bytes", str(4 * MIB)]
        self.environment.pop("HF_HUB_DISABLE_XET")
        done = self.run(command)
        shutil.rmtree(store)
        before = self._hub.requests.bytes_sent("cas")
        process = subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=subprocess.DEVNULL)
        while self._hub.requests.bytes_sent("cas") - before < path.stat().st_size / 2:
            time.sleep(0.01)
        process.kill()
        process.wait()
        self.run(command)
        resent = (self._hub.requests.bytes_sent("cas") - before) / path.stat().st_size - 1
        return {
            "method": "slipway, by xet",
            "mb_per_s": round(path.stat().st_size / done.seconds / 1e6),
            "rss_mb": round(done.rss_mb),
            "verified": True,
            "resent_percent_after_kill_at_half": round(resent * 100, 1),
        }

    def complete(self, store: Path) -> bool:
        """Whether the store has the snapshot, by an independent hash of every file."""
        folder = store / snapshot_folder(REPOSITORY, self.commit)
        wanted = {line["path"]: line["digest"] for line in json.loads(self._request.read_text())["files"] if line["algorithm"] == "sha256"}
        return all(_openssl_sha256(folder / path) == digest for path, digest in wanted.items())

    def close(self) -> None:
        """Stop serving."""
        assert self._proxy.stdin is not None
        self._proxy.stdin.close()
        self._proxy.wait()
        self.cdn.close()
        self._hub.close()
        self._loop.close()


def _peak_kb(pid: int) -> int:
    """The process's peak resident memory so far, in kB. (`ru_maxrss` would count ours too: it survives fork and exec.)"""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) if "VmHWM:" in status else 0


def _openssl_sha256(path: Path) -> str:
    done = subprocess.run(["openssl", "dgst", "-sha256", "-r", str(path)], capture_output=True, text=True, check=True)
    return done.stdout.split()[0]


def measure(bench: Bench, rounds: int) -> list[dict[str, Any]]:
    """All methods in turns; a line for each, with its median."""
    methods = {
        "slipway": Method(command=bench.fetch, verified=True),
        "curl": Method(command=bench.curl),
        "hf download": Method(command=bench.hf),
        "slipway, through a proxy": Method(command=bench.fetch, verified=True, proxied=True),
        "curl, through a proxy": Method(command=bench.curl, proxied=True),
    }
    runs: dict[str, list[Run]] = {name: [] for name in methods}
    second: list[Run] = []
    second_requests, resent = 0, []
    for number in range(rounds):
        for name, method in methods.items():
            target = bench.folder / "target"
            target.mkdir()
            runs[name].append(bench.run(method.command(target), proxied=method.proxied))
            print(f"round {number + 1}: {name} {bench.size_bytes / runs[name][-1].seconds / 1e6:.0f} MB/s", file=sys.stderr, flush=True)
            if name == "slipway":
                before = bench.requests
                second.append(bench.run(method.command(target)))
                second_requests += bench.requests - before
                if not bench.complete(target):
                    raise RuntimeError("the bytes on the disk are not those of the hub")
            shutil.rmtree(target)
        target.mkdir()
        resent.append(bench.killed_at_half(target))
        shutil.rmtree(target)
    lines = [
        {
            "method": name,
            "mb_per_s": round(bench.size_bytes / statistics.median(run.seconds for run in runs[name]) / 1e6),
            "rss_mb": round(max(run.rss_mb for run in runs[name])),
            "verified": method.verified,
            "runs_mb_per_s": [round(bench.size_bytes / run.seconds / 1e6) for run in runs[name]],
        }
        for name, method in methods.items()
    ]
    lines.append(
        {"method": "slipway, second run", "seconds": round(statistics.median(r.seconds for r in second), 3), "requests": second_requests}
    )
    lines.append({"method": "slipway, killed at half", "resent_percent": round(statistics.median(resent) * 100, 2)})
    return lines


def missed(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """The bars that these lines do not meet."""
    of = {line["method"]: line for line in lines}
    ours, second, killed = of["slipway"], of["slipway, second run"], of["slipway, killed at half"]
    bars = {
        "1.0 × curl": ours["mb_per_s"] >= of["curl"]["mb_per_s"],
        "1.0 × curl through a proxy": of["slipway, through a proxy"]["mb_per_s"] >= of["curl, through a proxy"]["mb_per_s"],
        "2 × hf download": ours["mb_per_s"] >= 2 * of["hf download"]["mb_per_s"],
        "less than 150 MB of memory": ours["rss_mb"] < 150,
        "a second run within 1 s": second["seconds"] < 1,
        "a second run without requests": second["requests"] == 0,
        "at most 5 % sent again after a kill at half": killed["resent_percent"] <= 5,
    }
    return [name for name, met in bars.items() if not met]


def main() -> int:
    """Measure, print and write the lines; 1 if a bar is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--mib", type=int, default=512, help="size of each file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--xet-mib", type=int, default=128, help="size of the file that comes by xet")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench-prefetch.json")
    options = parser.parse_args()
    options.output.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output.parent) as folder:
        bench = Bench(Path(folder), options.files, options.mib * MIB)
        try:
            lines = [*measure(bench, options.rounds), bench.by_xet(options.xet_mib)]
        finally:
            bench.close()
    text = "".join(json.dumps(line) + "\n" for line in lines)
    options.output.write_text(text)
    print(text, end="")
    for bar in missed(lines):
        print(f"missed: {bar}", file=sys.stderr)
    return 1 if missed(lines) else 0


if __name__ == "__main__":
    sys.exit(main())
