"""A repository over HTTPS: who may read and write it, and merges that people make."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from blocks.errors import GitRejected, GitUnreachable
from blocks.gitops import GitOps
from blocks.gitops.command import Git, GitFailed
from sandbox.forge import Forge
from tests.gitops.test_checkout import FOLDER, TEXT, publish
from tests.support.waiting import HANGS_SECONDS


def of(forge: Forge, **more: object) -> GitOps:
    api = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}[forge.kind]
    fields = {"url": forge.url, "ca_file": forge.ca_file, "token": SecretStr(forge.token), "poll_seconds": 0.05}
    return GitOps(**{**fields, "api_url": f"{forge.host}{api}", **more})  # type: ignore[arg-type]


def asks(forge: Forge, **more: object) -> GitOps:
    return of(forge, **{"pull_requests": forge.kind, **more})


def test_a_commit_goes_over_https_with_the_token_of_a_file(forge: Forge, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(f"{forge.token}\n")

    sha = publish(of(forge, token=None, token_file=secret))

    assert forge.repository.head == sha


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"token": SecretStr("hunter2-hunter2")}, "refuses the credentials of the GitOps block .*: set a token that may write there"),
        ({"token": None}, "it has no token; set one"),
        ({"ca_file": None}, "set the GitOps block's ca_file"),
        ({"token": None, "token_file": Path("/gone")}, "The token file /gone of the GitOps block cannot be read"),
        ({"branch": "release"}, "has no branch 'release'"),
        ({"ssh_key_file": Path("/gone")}, "The SSH key file /gone of the GitOps block is not there"),
    ],
    ids=["token", "no-token", "certificate", "token-file", "branch", "key"],
)
def test_what_is_refused_is_one_sentence_without_a_secret(forge: Forge, changes: dict[str, object], says: str) -> None:
    with pytest.raises(GitRejected, match=says) as caught:
        publish(of(forge, **changes))

    assert "hunter2" not in f"{caught.value.message}{caught.value.__cause__}{caught.value.__cause__ and caught.value.__cause__.args}"
    assert "\n" not in caught.value.message


def test_a_repository_that_is_not_there_is_named(forge: Forge) -> None:
    with pytest.raises(GitRejected, match=r"There is no Git repository at https://.*/platform/other\.git"):
        publish(of(forge, url=forge.url.replace("models", "other")))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_asked_again(forge: Forge, status: int) -> None:
    forge.status = status

    with pytest.raises(GitUnreachable, match="cannot be reached"):
        publish(of(forge))


@pytest.mark.parametrize("url", ["https://127.0.0.1:9/a/b.git", "ssh://git@127.0.0.1:9/a/b.git"])
def test_nobody_there_is_a_fault_that_may_pass(url: str) -> None:
    with pytest.raises(GitUnreachable, match=r"127\.0\.0\.1.* cannot be reached"):
        publish(GitOps(url=url))


def test_what_takes_too_long_is_ended_with_its_helpers(forge: Forge) -> None:
    hook = forge.repository.folder / "hooks" / "update"
    hook.write_text("#!/bin/sh\nwhile [ -e slow ]; do sleep 0.05; done\n")
    hook.chmod(0o755)
    (forge.repository.folder / "slow").touch()
    begin = time.monotonic()

    with pytest.raises(GitUnreachable, match=r"did not answer within 0\.5 s"):
        publish(of(forge, timeout_seconds=0.5))

    assert time.monotonic() - begin < HANGS_SECONDS, "the hook never ends by itself"
    (forge.repository.folder / "slow").unlink()
    # The push may have come through behind our back: it is found, not made again.
    publish(of(forge))
    assert [message for _, message in forge.repository.log()].count(TEXT) == 1


@pytest.mark.parametrize("url", ["https://user:password@host/a", "http://host/a", "/srv/git/a", "git://host/a", "ext::sh -c id", "-u"])
def test_addresses_with_credentials_or_without_encryption_are_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        GitOps(url=url)


@pytest.mark.parametrize("forge", ["github", "gitlab", "gitea"], indirect=True)
def test_a_protected_branch_is_changed_by_a_merge_that_is_waited_for(forge: Forge) -> None:
    # given a branch that nobody may push to
    forge.repository.protect("main")
    before = forge.repository.head

    # when nobody merges in time, then the proposal stays
    hurried = asks(forge, merge_timeout_seconds=0.01)
    with pytest.raises(GitRejected, match=rf"equest {forge.host}/.*/1 was not merged within 0\.01 s: merge it"):
        publish(hurried)
    (proposal,) = forge.pull_requests
    assert forge.repository.branches() == ["main", proposal.head]
    assert f"{proposal.title}\n\n{proposal.body}" == TEXT.replace("\nCandidate", "\n    Candidate").replace("\nRun", "\n    Run")

    # when somebody closes it, the next run makes a new one
    proposal.state = "closed"
    with pytest.raises(GitRejected, match="/2 was not merged"):
        publish(hurried)
    assert forge.repository.head == before

    # and the next finds that one, and waits until it is merged
    forge.api_requests.clear()
    ended: list[str] = []
    waits = threading.Thread(target=lambda: ended.append(publish(asks(forge))))
    waits.start()
    while len(forge.api_requests) < 3:
        time.sleep(0.02)
    merged = forge.merge(2)
    waits.join(timeout=HANGS_SECONDS)

    assert ended == [merged] == [forge.repository.head]
    assert len(forge.pull_requests) == 2
    assert forge.repository.read(f"{FOLDER}/values.yaml") == "replicas: 2\n"


def test_a_merge_that_is_not_what_was_proposed_is_not_taken_for_it(forge: Forge) -> None:
    block = asks(forge, merge_timeout_seconds=0.01)
    with pytest.raises(GitRejected, match="was not merged"):
        publish(block)
    forge.pull_requests[0].state = "merged"  # and the branch has something else

    with pytest.raises(GitRejected, match=rf"was merged, but {FOLDER} on main is not what it proposed"):
        publish(block)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"token": None}, GitRejected, "no token|has no token for the forge's API"),
        ({"api_url": "https://127.0.0.1:9/api/v1"}, GitUnreachable, "forge at 127.0.0.1 cannot be reached"),
    ],
)
def test_a_forge_without_a_way_in_is_named(forge: Forge, changes: dict[str, object], error: type[Exception], says: str) -> None:
    if "token" in changes:
        forge.token = ""

    with pytest.raises(error, match=says):
        publish(asks(forge, **changes))


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (403, GitRejected, r"refuses the GitOps block's token \(HTTP 403\): it must propose merges"),
        (422, GitRejected, r"refused GET .* \(HTTP 422: told to fail\): check the GitOps block's pull_requests"),
        (503, GitUnreachable, "answered HTTP 503"),
    ],
)
def test_a_forge_that_refuses_says_why(forge: Forge, status: int, error: type[Exception], says: str) -> None:
    forge.api_status = status

    with pytest.raises(error, match=rf"The forge at 127\.0\.0\.1 {says}"):
        publish(asks(forge))


@pytest.mark.parametrize(
    "said",
    [
        "fatal: unable to access 'https://git.example/m.git/': GnuTLS recv error (-110): The TLS connection was non-properly terminated.",
        "fatal: unable to access 'https://git.example/m.git/': OpenSSL SSL_read: SSL_ERROR_SYSCALL, errno 104",
        "fatal: unable to access 'https://git.example/m.git/': OpenSSL SSL_read: error:0A000126:SSL routines::unexpected eof while reading",
        "error: RPC failed; curl 56 Recv failure: Connection was aborted\nfatal: expected flush after ref listing",
        "error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly: CANCEL (err 8)",
        "fetch-pack: unexpected disconnect while reading sideband packet",
    ],
)
def test_a_connection_that_breaks_is_no_refusal(said: str, tmp_path: Path) -> None:
    error = Git(GitOps(url="https://git.example/m.git").settings(), tmp_path).error(GitFailed("", said))

    assert isinstance(error, GitUnreachable)
