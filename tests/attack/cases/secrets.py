"""Secrets of settings, and what looks like one in what others write, are in no error, log line, page, document, commit or object."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from pydantic import SecretStr

from blocks.argocd import Argo
from blocks.cluster import Cluster
from blocks.endpoint import Endpoint
from blocks.errors import PipelineError, RolloutStalled
from blocks.gitops import CommitMessage, GitOps
from blocks.health_cache import HealthCache, Result
from blocks.helm import Helm
from blocks.hub import Hub
from blocks.registry import Registry
from blocks.secret_shapes import looks_secret, redacted
from blocks.storable import storable_document
from flows.delivery.git_files import values_text
from flows.errors import SpecInvalid
from flows.node.sharing.claims import Pieces, Told
from flows.rollout.engine_log import read_log
from flows.runtime.json_logs import JsonLines
from flows.runtime.prefect_api import PrefectApi
from flows.runtime.prefect_settings import PrefectSettings
from flows.runtime.tasks import CleanRecords
from flows.text.markdown import md, verbatim
from tests.attack.case import attacks, refused
from tests.attack.shared import Shared
from tests.support.examples import BEGIN, digest, evidence, verdict

#: In place of every secret; nothing else has it.
CANARY = "canaryQ7x9Z"

#: A port at which nothing listens.
NOBODY = "127.0.0.1:9"

#: How secrets stand in what others write.
WRITTEN = (
    f"postgresql://slipway:{CANARY}@db/registry",
    f"postgresql://slipway:{CANARY}@{CANARY}@db/registry",
    f"https://user:{CANARY}@hub.example",
    f"host=db password='{CANARY} {CANARY}'",
    f"HF_TOKEN={CANARY}",
    f"--api-key {CANARY}",
    f"AWS_SECRET_ACCESS_KEY={CANARY}",
    f"https://cdn.example/x?access_token={CANARY}",
    f"client_secret={CANARY}",
    f"hf_{CANARY}",
    f"ghp_{CANARY}",
    f"glpat-{CANARY}",
    f"sk-{CANARY}",
    f"Authorization: Bearer {CANARY}",
    f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
    f"host=db password=with\\ {CANARY}",
    f'{{"error": "{{\\"token\\": \\"{CANARY}\\"}}"}}',
    f'{{"auths": {{"registry.example": {{"auth": "{CANARY}"}}}}}}',
    f"[(b'Authorization', b'{CANARY}'), ('x-api-key', '{CANARY}')]",
    f"curl -u user:{CANARY} https://hub.example",
    f"- name: HF_TOKEN\n  value: {CANARY}",
    f"V1EnvVar(name='HF_TOKEN', value='{CANARY}')",
    f"token: |\n  {CANARY}\n",
    f"client-key-data: {CANARY}",
    f"DB_PASS={CANARY}",
    f"https%3A%2F%2Fuser%3A{CANARY}%40hub.example",
    f"\x1b[31mhf_{CANARY}",
)


def said_by(act: Callable[[], Any]) -> str:
    """All that is said when it fails: the error, its facts, what it was caused by, and its traceback as the log has it."""
    try:
        act()
    except PipelineError as exc:
        record = logging.LogRecord("prefect.flow_runs", logging.ERROR, __file__, 1, "%s", (exc,), sys.exc_info())
        line = JsonLines().format(record)
        return " ".join([exc.message, repr(exc.facts), repr(exc), line])
    raise AssertionError("it did not fail")


def raw_of(act: Callable[[], Any]) -> str:
    """The whole traceback, as Python prints it, with everything that it was caused by."""
    try:
        act()
    except PipelineError:
        return traceback.format_exc()
    raise AssertionError("it did not fail")


def keeps(act: Callable[[], Any], *, everywhere: bool = True) -> str:
    said = said_by(act) + (raw_of(act) if everywhere else "")
    assert CANARY not in said, said[:1500]
    return said


@attacks("a password of the registry's address is in no error, however it is written")
def registry_addresses() -> None:
    for dsn in (
        f"postgresql://slipway:{CANARY}@{NOBODY}/registry",
        f"postgresql://slipway:{CANARY}@{CANARY}@{NOBODY}/registry",
        f"postgresql://slipway:1/{CANARY}@{NOBODY}/registry",
        f"postgresql://slipway:{CANARY}/{CANARY}@{NOBODY}/registry",
        f"postgresql://slipway:{CANARY} x@{NOBODY}/registry",
        f"postgresql://me@example.org:{CANARY}@{NOBODY}/registry",
        f"host=127.0.0.1 port=9 user=slipway password='{CANARY} {CANARY}",
        f"host=127.0.0.1 port=9 password={CANARY}",
    ):
        block = Registry(dsn=SecretStr(dsn), connect_timeout_seconds=1)
        keeps(lambda block=block: block.client().entries())
        assert CANARY not in f"{block!r} {block} {block.model_dump_json()}"


@attacks("a user and password in the hub's address are refused and not quoted, and its token is in no error")
def hub_settings() -> None:
    keeps(lambda: Hub(endpoint=f"http://user:{CANARY}@{NOBODY}").client())
    block = Hub(endpoint=f"http://{NOBODY}", token=SecretStr(f"hf_{CANARY}"), timeout_seconds=0.5)
    keeps(lambda: block.client().commit("organisation/name", "main"), everywhere=False)
    assert f"hf_{CANARY}" not in f"{block!r} {block}"


@attacks("a password of the health cache's address is in no error, also of an address that is none")
def health_cache() -> None:
    result = Result(organisation=None, model="m", environment="e", endpoint="e:1", fingerprint=digest("c"), trouble=None)
    for url in (f"redis://:{CANARY}@{NOBODY}/0", f"redis://u:{CANARY}@{CANARY}@{NOBODY}", f"{CANARY}://x", f"redis://:{CANARY}@x:{CANARY}"):
        block = HealthCache(url=SecretStr(url), timeout_seconds=0.5)
        keeps(lambda block=block: block.publish([result], at=BEGIN, lifetime_seconds=1.0))
        assert CANARY not in f"{block!r} {block}"


@attacks("a token for Git is in no error, argument, environment that is shown, or address")
def git_token() -> None:
    block = GitOps(url=f"https://{NOBODY}/a/b.git", token=SecretStr(CANARY), timeout_seconds=5)

    def clone() -> None:
        with block.client() as client, client.checkout():
            pass

    keeps(clone)
    assert CANARY not in f"{block!r} {block} {block.settings()!r}"


@attacks("a Git address with a password in it is no address for the block, and is not quoted")
def git_address() -> None:
    said = refused(ValueError, GitOps, url=f"https://user:{CANARY}@{NOBODY}/a/b.git")
    assert CANARY not in redacted(said), "the password"


@attacks("what a kubeconfig holds is in no error")
def kubeconfig() -> None:
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": f"https://user:{CANARY}@{NOBODY}"}}],
        "users": [{"name": "u", "user": {"token": CANARY}}],
    }
    with TemporaryDirectory() as folder:
        path = Path(folder, "kubeconfig")
        path.write_text(json.dumps(document))
        keeps(lambda: Cluster(kubeconfig=path).client().nodes.list({}), everywhere=False)
        keeps(lambda: Cluster(kubeconfig=path, context="other").client())
        keeps(lambda: Endpoint(via="service-proxy", kubeconfig=path).client("a:1"), everywhere=False)
        path.write_text(f"users: [{CANARY}: [")
        keeps(lambda: Cluster(kubeconfig=path).client(), everywhere=False)


@attacks("what helm prints of a kubeconfig or of values, and what Argo CD's cluster is reached with, is in no error")
def delivery() -> None:
    with TemporaryDirectory() as folder:
        helm, said, kubeconfig = Path(folder, "helm"), Path(folder, "said"), Path(folder, "kubeconfig")
        helm.write_text(f'#!/bin/sh\ncat "{said}" >&2\nexit 1\n')
        helm.chmod(0o700)
        block = Helm(executable=str(helm), chart=Path(folder), kubeconfig=kubeconfig)
        for text in (f"cluster unreachable: {' '.join(WRITTEN)}", f"values don't meet the schema: {WRITTEN[-1]} {WRITTEN[5]}"):
            said.write_text(f"Error: {text}")
            keeps(lambda: block.client().current("tiny", "here"), everywhere=False)
        user, server = {"client-key-data": CANARY, "password": CANARY, "username": "u"}, f"https://user:{CANARY}@{NOBODY}"
        document = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": user}],
        }
        for kind in ({"token": CANARY}, user):
            document["users"] = [{"name": "u", "user": kind}]
            kubeconfig.write_text(json.dumps(document))
            argo = Argo(kubeconfig=kubeconfig, timeout_seconds=1)
            keeps(lambda argo=argo: argo.client().application("argocd", "tiny"), everywhere=False)
        assert CANARY not in f"{block!r} {argo!r}"


@attacks("Prefect's key, password and address are in no error of ours")
def prefect_settings() -> None:
    settings = PrefectSettings(
        api_url=f"http://user:{CANARY}@{NOBODY}/api",
        api_key=CANARY,
        api_auth_string=f"user:{CANARY}",
        client_custom_headers={"X-Token": CANARY},
        client_max_retries=0,
    )
    keeps(lambda: PrefectApi(settings).get("/flows"), everywhere=False)
    assert CANARY not in repr(settings).replace(f"user:{CANARY}@", "")


@attacks("an error says no secret that it quotes of others, in its sentence or its facts")
def errors_quote() -> None:
    for text in WRITTEN:
        error = RolloutStalled(f"it said {text}", evidence=(text,), more={"line": [text]})
        assert CANARY not in f"{error} {error.args} {error.facts}", text


@attacks("a log line says no secret, wherever in it that stands, and neither does what a run logs to Prefect")
def logs() -> None:
    for text in WRITTEN:
        try:
            raise ValueError(text)
        except ValueError:
            record = logging.LogRecord("prefect.flow_runs", logging.ERROR, __file__, 1, "with %s", (text,), sys.exc_info())
        assert CANARY not in JsonLines().format(record), text
        CleanRecords().filter(record)
        assert CANARY not in logging.Formatter("%(message)s").format(record), text


@attacks("an engine's log is quoted without secrets")
def engine_log() -> None:
    for text in WRITTEN:
        for log in (f"INFO starting\nValueError: {' '.join(text.split())}", f"INFO starting\n{text}"):
            found = read_log(log)
            assert found is not None
            assert CANARY not in found.line, log


@attacks("a page says no secret")
def pages() -> None:
    for text in WRITTEN:
        assert CANARY not in str(md("{}", text)) + str(verbatim([text])), text


@attacks("evidence keeps no secret that an engine says")
def evidence_documents() -> None:
    for text in WRITTEN:
        document = json.dumps(evidence(verdict(text=text)).document())
        assert CANARY not in document, text


@attacks("an event of the record keeps no secret that somebody gave as a reason")
def events() -> None:
    for text in WRITTEN:
        kept = storable_document({"reason": text, "found": [{"sentence": text}], "round": 1})
        assert CANARY not in str(kept), text
        assert kept["round"] == 1


@attacks("a commit and the proposal to merge it say no secret")
def commits() -> None:
    for text in WRITTEN:
        message = CommitMessage(subject="subject", reason=text, about="about", trailers=(("Requested-by", text),))
        assert CANARY not in message.text() + message.description(), text


@attacks("a value for Git that looks like a secret is refused by its place, and not quoted")
def values_for_git() -> None:
    for text in WRITTEN:
        if looks_secret(text):
            said = refused(SpecInvalid, values_text, None, {"engine": {"extraArgs": ["--a", text]}}, "environments/staging/tiny")
            assert "engine.extraArgs[1]" in said
            assert CANARY not in said
    assert sum(looks_secret(text) is not None for text in WRITTEN) >= 8


@attacks("hashes, fingerprints, images by digest, commits and ids are taken for no secrets")
def innocents() -> None:
    for text in (
        digest("x"),
        f"sha256:{digest('x')}",
        f"registry.example:5000/vllm/vllm-openai@sha256:{digest('x')}",
        f"https://git.example/a/b.git at {digest('x')[:40]}",
        "0f0f0f0f-0000-4000-8000-000000000000",
        "tiny-llama-staging-vllm.llm-staging.svc.cluster.local:8000",
        "hf_overrides=None max_tokens=512 completion_tokens: 12",
    ):
        assert redacted(text) == text, text


@attacks("looking for secrets takes time in proportion to the text, whatever stands in it")
def linear() -> None:
    for unit in (
        "a",
        "://x:",
        "://a:@",
        "token=",
        "token=[",
        "password='",
        "-",
        "eyJaaaaaaaaa.",
        "-----BEGIN PRIVATE KEY-----",
        "aT",
        "sk-",
    ):
        begin = time.process_time()
        redacted((unit * 10_000)[:10_000])
        assert time.process_time() - begin < 0.5, unit


@attacks("a password of the registry is in no error of a real server that refuses it")
def refused_by_the_server(shared: Shared) -> None:
    dsn = shared.postgres.dsn.replace("postgres@", f"nobody:{CANARY}@")
    keeps(lambda: Registry(dsn=SecretStr(dsn)).client().entries())


@attacks("what an environment variable of the process holds is in no error")
def environment_variables() -> None:
    with mock.patch.dict("os.environ", {"HF_TOKEN": CANARY, "SLIPWAY_REGISTRY_DSN_FILE": "", "GIT_TOKEN": CANARY}):
        keeps(lambda: Hub(endpoint=f"http://{NOBODY}", timeout_seconds=0.5).client().commit("organisation/name", "main"), everywhere=False)


@attacks("A node that shares is believed nothing of pieces, nodes and processes that there are not, whatever it answers")
def what_a_sharing_node_says() -> None:
    pieces = Pieces([2, 1])
    good = {"rank": 1, "life": "a", "begin": 0, "claims": [[2, "a" * 64, 1]], "reading": [0], "whole": [1], "complete": False}
    assert Told.of(good, 2, pieces).rank == 1
    claims: list[Any] = [
        [[3, "a" * 64, 1]],
        [[-1, "a" * 64, 1]],
        [["../../etc", "a" * 64, 1]],
        [[0, "A" * 64, 1]],
        [[0, "a" * 64, 2]],
        "abc",
    ]
    changes: list[dict[str, Any]] = [{"claims": each} for each in [*claims, [[0, "a" * 64, 1]] * 10_000]]
    changes += [{"life": each} for each in ("", "\ud800", "a&complete=1", "x" * 65, None, ["a"])]
    changes += [
        {"rank": 2},
        {"rank": True},
        {"rank": 1.0},
        {"begin": -1},
        {"reading": [3]},
        {"reading": [[]]},
        {"whole": {"a": 1}},
        {"whole": [2]},
    ]
    for change in changes:
        refused(ValueError, Told.of, {**good, **change}, 2, pieces)
