"""What a hub, a mirror, or whoever has a repository there may answer: no traceback, no end, no token elsewhere, no half model."""

from __future__ import annotations

import json
import random
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import SecretStr

from blocks.errors import HubRejected, HubUnreachable, PipelineError
from blocks.facts import HubFile
from blocks.hub import Hub
from blocks.hub.token import sendable_token
from blocks.hub.waits import stated_wait
from flows.candidate.files import left_out, select_files
from flows.candidate.tasks import find
from flows.errors import Refusal
from flows.node.http import Connections
from flows.node.patience import Trial, Trouble
from flows.node.policy import Patience
from sandbox.hub.faults import Fault
from tests.attack.case import attacks, refused
from tests.attack.shared import Shared
from tests.support.examples import digest, hub_file, model
from tests.support.told_hub import COMMIT, ToldHub, git_sha1, index_file, listed, safetensors
from tests.support.vllm_loader import chosen_from

FILE = listed("config.json", b"{}")
A, B = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
WHOLE = {A: safetensors("a", "b"), B: safetensors("c"), INDEX: index_file({"a": A, "b": A, "c": B}), "config.json": b"{}"}


def listing(*entries: Any) -> Callable[[], object]:
    body = json.dumps(list(entries)).encode()
    return lambda: ToldHub(pages=[body]).client().commit("o/n", "main")


def found(files: dict[str, bytes], **changes: Any) -> Callable[[], object]:
    return lambda: find(ToldHub(files=files).client(), model(repository="o/n", **changes), "main").files


@attacks("a listing that is none is one sentence with the field that is wrong")
def malformed_listings() -> None:
    bodies = [b"<html>", b"", b"null", b"{}", b"7", b"[null]", b"[[]]", b"[" * 100_000, b"\xff", b'[{"type":"file","size":1e400}]', b"NaN"]
    for body in bodies:
        said = refused(HubRejected, ToldHub(pages=[body]).client().commit, "o/n", "main")
        assert "answers wrongly for o/n: its list of files" in said, body[:40]
    for field in FILE:
        for value in (None, [], {}, -1, 1.5, True, 10**400, "", "x" * 100_000, "\ud800"):
            said = refused(HubRejected, listing({**FILE, field: value}))
            assert "[0]" in said or "list of files" in said, (field, str(value)[:40])
            assert said.isprintable(), (field, str(value)[:40])


@attacks("no path of a listing leaves its folder, has two spellings, or cannot be read by people")
def paths() -> None:
    for path in (
        "../x",
        "/x",
        "a/../../x",
        ".",
        "",
        "./x.json",
        "a//b",
        "a/",
        "a\\b",
        "x\n.json",
        "x\x1b]8;;.json",
        "x\u202e.json",
        "x" * 4096,
    ):
        refused(HubRejected, listing({**FILE, "path": path}))
    refused(HubRejected, listing(FILE, FILE))
    refused(HubRejected, listing(listed("a", b""), listed("a/b", b"")))


@attacks("Slipway's own file names are never taken from a repository")
def own_names() -> None:
    chosen = select_files("o/n", [hub_file(name) for name in ("config.json", "model.safetensors", ".manifest.json", ".slipway.json")])
    assert [file.path for file in chosen] == ["config.json", "model.safetensors"], [file.path for file in chosen]


@attacks("half a model is never a candidate: the index, the headers and the names must agree")
def half_a_model() -> None:
    half = {name: content for name, content in WHOLE.items() if name != B}
    refused(Refusal, found(half))
    refused(Refusal, found({name: content for name, content in half.items() if name != INDEX}))
    refused(
        Refusal, found({**{f"model-{n}-of-61.safetensors": safetensors(f"t{n}") for n in range(1, 62) if n != 7}, "config.json": b"{}"})
    )
    refused(Refusal, found({**{f"model-0000{n}-of-000004.safetensors": safetensors(f"t{n}") for n in (1, 2, 4)}, "config.json": b"{}"}))
    refused(HubRejected, found({**WHOLE, B: safetensors("other")}))
    refused(HubRejected, found({**WHOLE, B: safetensors("c", "a")}))
    refused(HubRejected, found({**WHOLE, INDEX: b'{"weight_map": {"a": "' + A.encode() + b'", "a": "' + B.encode() + b'"}}'}))


@attacks("files beside the model that its index does not name never reach a node")
def strays() -> None:
    strays = {name: safetensors("a", "z") for name in ("model.safetensors", "consolidated.safetensors", "model-00001-of-00009.safetensors")}
    chosen = find(ToldHub(files={**WHOLE, **strays, "pytorch.npz": b""}).client(), model(repository="o/n"), "main").files
    assert [file.path for file in chosen if file.path.endswith(".safetensors")] == [A, B], [file.path for file in chosen]


@attacks("an index leads to no file outside the folder that is served, and to nothing but safetensors")
def index_elsewhere() -> None:
    for name in ("../x.safetensors", "/x.safetensors", "sub/x.safetensors", "pytorch_model.bin", "config.json", "x\n.safetensors"):
        files = {"config.json": b"{}", "model.safetensors": safetensors("a"), INDEX: index_file({"a": name})}
        refused(PipelineError, found(files))


@attacks("pickles where vLLM looks for weights are refused, and no pickle ever reaches a node")
def pickles() -> None:
    names = (
        "pytorch_model.bin",
        "model.pt",
        "original/consolidated.00.pth",
        "metal/model.bin",
        "x.pkl",
        "global_step1/mp_rank_00_model_states.pt",
    )
    files = [hub_file(name) for name in ("config.json", "model.safetensors", *names)]
    assert [file.path for file in select_files("o/n", files)] == ["config.json", "model.safetensors"]
    refused(Refusal, select_files, "o/n", [hub_file("config.json"), hub_file("pytorch_model.bin")])


@attacks("a hundred thousand files, or five thousand shards, are chosen from within a second")
def many_files(shared: Shared) -> None:
    many = [HubFile(path=f"d{n % 997}/{n}.json", size_bytes=1, digest="c" * 40, algorithm="git-sha1") for n in range(100_000)]
    shards = [hub_file(f"model-{n:05d}-of-05000.safetensors") for n in range(1, 5001)]
    for files in ([*many, hub_file("config.json"), hub_file("model.safetensors")], [*shards, hub_file("config.json")]):
        begin = time.process_time()
        left_out(files, select_files("o/n", files))
        took = time.process_time() - begin
        assert took < 1, f"{len(files):,} files took {took:.1f} s"


@attacks("a listing has an end, however many pages a hub sends")
def pages_without_end() -> None:
    page = [json.dumps([{**FILE, "path": f"{n}.json"}]).encode() for n in range(3000)]
    refused(HubRejected, ToldHub(pages=page).client().commit, "o/n", "main")


@attacks("no server has us wait for longer than a window of the hub's limits, nor beyond the Job's end")
def waits() -> None:
    for value in ("1000000000", "9" * 400, "nan", "inf", "Thu, 01 Jan 9999 00:00:00 GMT"):
        asked = stated_wait({"Retry-After": value})
        patience = Patience(attempts=9, back_off_seconds=0.001, budget_seconds=1, until=time.monotonic() + 1)
        trial = Trial(patience, "x", threading.Event())
        if asked is not None:
            begin = time.monotonic()
            refused(HubUnreachable, trial.failed, Trouble("HTTP 429", retry_after_seconds=asked))
            assert time.monotonic() - begin < 0.5, value


@attacks("a token that no header can carry is named by its place, and never shown")
def tokens() -> None:
    for text in ("hf_canary\nx", "hf_canary\x00", "hf_canaryé", "hf_ canary", "hf_canary\r\nX-Evil: 1"):
        assert "canary" not in refused(HubRejected, sendable_token, text, "the block"), text
    assert sendable_token("hf_canary\r\n", "the block") == "hf_canary"


@attacks("a commit is the one that was asked for, and a configuration the one that the listing names")
def other_bytes() -> None:
    refused(HubRejected, ToldHub(pages=[b"[]"]).client().commit, "o/n", "f" * 40)
    line = {**listed("config.json", b"{}"), "oid": git_sha1(b'{"a": 1}'), "size": 2}
    hub = ToldHub(files={"config.json": b"{}"}, pages=[json.dumps([line, listed("model.safetensors", safetensors("a"))]).encode()])
    hub.files = {**hub.files, "model.safetensors": safetensors("a")}
    refused(HubRejected, find, hub.client(), model(repository="o/n"), "main")


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers each connection with these bytes, whatever is asked; its address, and what it heard."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in [*answers, *answers[-1:] * 50]:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(65536))
                    try:
                        connection.sendall(answer)
                        connection.settimeout(2)
                        connection.recv(1)
                    except OSError:
                        continue

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", heard


def read(url: str, size: int = 10) -> Callable[[], int]:
    connections = Connections(url, "hf_canary", ssl.create_default_context(), 0.5)
    return lambda: sum(connections.read(f"{url}/x", 0, memoryview(bytearray(size)), size))


@attacks("a redirect that leads nowhere, and one whose body has no end, is one sentence on the node")
def redirects(shared: Shared) -> None:
    for location in (b"", b"http://[x/", b"ftp://h/x", b"http://h:99999/", b"javascript:1", b"http://u:canary@h/"):
        with answering(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n") as (url, _):
            said = refused(HubRejected, read(url))
            assert "canary" not in said, location
    endless = b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 1000000000000\r\n\r\n" + b"x" * 200_000
    with answering(endless, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789") as (url, _):
        assert read(url)() == 10


@attacks("the rest of a body without end is not read on the node")
def bodies_without_end(shared: Shared) -> None:
    head = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/10\r\n"
    for answer in (
        head + b"Content-Length: 99999999999\r\n\r\n" + b"0" * 5000,
        head + b"Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n",
    ):
        with answering(answer) as (url, _):
            begin = time.monotonic()
            assert read(url)() == 10
            assert time.monotonic() - begin < 5


@attacks("an answer that is no HTTP is trouble that may pass, in one sentence")
def no_http(shared: Shared) -> None:
    for answer in (
        b"",
        b"\0" * 100,
        b"HTTP/9.9 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 500,
        b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000,
    ):
        with answering(answer) as (url, _):
            refused(Trouble, read(url))


@attacks("the next page of a listing, and a redirect, take the token to no other host")
def token_elsewhere(shared: Shared) -> None:
    hub, repository = shared.hub, f"attack/{digest(str(time.time()))[:8]}"
    hub.tokens["hf_canary"] = {repository}
    hub.add(repository, {"config.json": b"{}", "model.safetensors": safetensors("a")})
    page = json.dumps([FILE]).encode()
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: " + str(len(page)).encode() + b"\r\n\r\n" + page) as (elsewhere, heard):
        named = elsewhere.replace("127.0.0.1", "localhost")
        hub.faults.add(Fault(path="*/tree/*", headers={"link": f'<{named}/next>; rel="next"'}))
        with Hub(endpoint=hub.url, token=SecretStr("hf_canary")).client() as client:
            refused(HubRejected, client.commit, repository, "main")
        hub.faults.add(Fault(path=f"*{repository}/tree/*", status=302, headers={"location": f"{elsewhere}/tree"}))
        with Hub(endpoint=hub.url, token=SecretStr("hf_canary")).client() as client:
            client.commit(repository, "main")
        assert heard, "the redirect was not followed"
        assert not any(b"canary" in request for request in heard), heard
    hub.faults.clear()


@attacks("a hub that asks for a pause of thirty years, or trickles, holds no plan up")
def slow_hubs(shared: Shared) -> None:
    hub, repository = shared.hub, f"attack/{digest(str(time.time()))[:8]}"
    hub.add(repository, {"config.json": b"{}"})
    for fault in (
        Fault(path=f"*{repository}/*", status=429, headers={"retry-after": "1000000000"}, times=None),
        Fault(path=f"*{repository}/*", status=429, headers={"retry-after": "0"}, times=None),
        Fault(path=f"*{repository}/*", bytes_per_second=10, times=None),
        Fault(path=f"*{repository}/*", stall_after_bytes=10, times=None),
    ):
        hub.faults.add(fault)
        begin = time.monotonic()
        with Hub(endpoint=hub.url, timeout_seconds=0.3).client() as client:
            refused(HubUnreachable, client.commit, repository, "main")
        assert time.monotonic() - begin < 10
        hub.faults.clear()


@attacks("of 10,000 repositories from a seed, nothing is chosen that vLLM would not load whole, and nothing ends in a traceback")
def generated_repositories(shared: Shared) -> None:
    outcomes = Counter(chosen_from(seed) for seed in range(10_000))
    assert outcomes["chosen"] > 1000 < outcomes["refused"], outcomes


@attacks("of 10,000 listings from a seed, none ends in a traceback or in a path that is no path")
def generated_listings(shared: Shared) -> None:
    generator = random.Random(10)
    odd = [None, True, -1, 2**70, 1.5, "", ".", "../x", "x\n", [], {}, "e" * 64, "c" * 40, {"oid": "e" * 64, "size": 2}]
    for number in range(10_000):
        entries = [dict(FILE, path=f"{n}.json") for n in range(generator.randrange(3))]
        for entry in entries:
            entry[generator.choice([*FILE, "lfs"])] = generator.choice(odd)
        body = json.dumps(entries).encode()
        body = body[: generator.randrange(len(body))] if generator.random() < 0.1 else body
        try:
            files = ToldHub(pages=[body]).client().commit("o/n", "main").files
        except PipelineError:
            files = ()
        assert all(file.path.isprintable() and not file.path.startswith((".", "/")) for file in files), (number, COMMIT)
