"""What the GitOps block does to a repository: one commit for one change, on top of others' work, and never anything else."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from blocks.errors import GitConflict, GitRejected, GitUnreachable
from blocks.gitops import CommitMessage, GitOps
from blocks.gitops.command import ssh_command
from sandbox.git import BareRepository, git

FOLDER = "environments/production/tiny-llama"
MESSAGE = CommitMessage(subject="tiny-llama in production: candidate 0123456789ab", trailers=(("Candidate", "0123456789ab"), ("Run", "1")))
TEXT = "tiny-llama in production: candidate 0123456789ab\n\nCandidate: 0123456789ab\nRun: 1"


def publish(block: GitOps, text: str = "replicas: 2\n", message: CommitMessage = MESSAGE) -> str:
    with block.client() as client, client.checkout() as tree:
        tree.replace(FOLDER, {"values.yaml": text.encode()})
        return tree.publish(FOLDER, message, topic="tiny-llama-production")


def test_a_change_is_one_commit_on_the_branch(repository: BareRepository, block: GitOps) -> None:
    before = repository.log()

    sha = publish(block)

    assert repository.log() == [(sha, TEXT), *before]
    assert repository.read(f"{FOLDER}/values.yaml") == "replicas: 2\n"
    assert repository.read("README.md") == "Models\n"
    assert repository.branches() == ["main"]


def test_identical_content_makes_no_commit_and_names_the_one_that_has_it(repository: BareRepository, block: GitOps) -> None:
    sha = publish(block)
    for number in range(3):
        repository.commit({f"elsewhere-{number}": "x\n"})
    log = repository.log()

    # The clone is shallow: what made the folder lies beyond its end, and is found all the same.
    assert publish(block, message=CommitMessage(subject="another run")) == sha
    assert repository.log() == log


def test_what_others_push_meanwhile_stays_and_the_commit_goes_on_top(repository: BareRepository, block: GitOps) -> None:
    with block.client() as client, client.checkout() as tree:
        tree.replace(FOLDER, {"values.yaml": b"replicas: 2\n"})
        theirs = repository.commit({"environments/production/other/values.yaml": "replicas: 7\n"})

        sha = tree.publish(FOLDER, MESSAGE, topic="t")

    assert [commit for commit, _ in repository.log()][:2] == [sha, theirs]
    assert repository.read("environments/production/other/values.yaml") == "replicas: 7\n"
    assert repository.read(f"{FOLDER}/values.yaml") == "replicas: 2\n"


def test_a_conflict_in_the_very_file_is_one_sentence_and_changes_nothing(repository: BareRepository, block: GitOps) -> None:
    with block.client() as client, client.checkout() as tree:
        tree.replace(FOLDER, {"values.yaml": b"replicas: 2\n"})
        theirs = repository.commit({f"{FOLDER}/values.yaml": "replicas: 3\n"})

        with pytest.raises(GitRejected, match=f"Somebody else changed {FOLDER} on main") as caught:
            tree.publish(FOLDER, MESSAGE, topic="t")

    assert theirs[:12] in caught.value.message
    assert repository.head == theirs


def test_two_runs_with_the_same_change_make_one_commit(repository: BareRepository, block: GitOps) -> None:
    with block.client() as client, client.checkout() as tree:
        tree.replace(FOLDER, {"values.yaml": b"replicas: 2\n"})
        theirs = publish(block)

        assert tree.publish(FOLDER, MESSAGE, topic="t") == theirs
    assert repository.head == theirs


def test_whoever_loses_every_race_may_try_again(repository: BareRepository, block: GitOps) -> None:
    # A server on which somebody is always faster: it moves the branch while it looks at the push.
    hook = repository.folder / "hooks" / "update"
    commit = 'git -c user.name=a -c user.email=a@b commit-tree "$1^{tree}" -p "$1" -m faster'
    hook.write_text(f'#!/bin/sh\ngit update-ref "$1" "$({commit})"\n')
    hook.chmod(0o755)

    with pytest.raises(GitConflict, match="8 times in a row"):
        publish(block)
    hook.unlink()

    assert publish(block) == repository.head
    messages = [message for _, message in repository.log()]
    assert messages.count(TEXT) == 1
    assert messages.count("faster") == 8


@pytest.mark.parametrize("hook", ["pre-receive", "post-receive"])
def test_a_push_that_is_killed_is_made_again_once(repository: BareRepository, block: GitOps, hook: str) -> None:
    """Killed before the branch has it, and after: what counts is what the branch says."""
    path, kept = repository.folder / "hooks" / hook, repository.folder / "hooks" / "kept"
    if path.exists():
        path.rename(kept)
    # The push, its helpers and the server go at once, as with a pod.
    path.write_text("#!/bin/sh\nkill -9 0\n")
    path.chmod(0o755)
    with pytest.raises(GitUnreachable, match="signal 9"):
        publish(block)
    path.unlink()
    there = repository.head

    sha = publish(block)

    assert [message for _, message in repository.log()].count(TEXT) == 1
    assert (sha == there) == (hook == "post-receive")


def test_a_protected_branch_is_named_with_what_to_do(repository: BareRepository, block: GitOps) -> None:
    repository.protect("main")
    before = repository.head

    with pytest.raises(GitRejected, match=r"does not take a commit on main .*GH006.*pull_requests"):
        publish(block)

    assert repository.head == before
    assert repository.branches() == ["main"]


def test_a_folder_is_taken_back_to_where_a_file_said_something(repository: BareRepository, block: GitOps) -> None:
    first = publish(block, "candidate: aaa\n")
    publish(block, "candidate: bbb\n", CommitMessage(subject="the next"))

    with block.client() as client, client.checkout() as tree:
        found = tree.last_with(f"{FOLDER}/values.yaml", "candidate: aaa")
        assert found == first
        assert tree.last_with(f"{FOLDER}/values.yaml", "candidate: ccc") is None
        tree.restore([FOLDER], found)
        tree.publish(FOLDER, CommitMessage(subject="back"), topic="t")

    assert repository.read(f"{FOLDER}/values.yaml") == "candidate: aaa\n"
    assert [message for _, message in repository.log()][:3] == ["back", "the next", TEXT]


def test_whether_two_commits_hold_the_same_is_told_of_the_folder_alone(repository: BareRepository, block: GitOps) -> None:
    first = publish(block)
    elsewhere = repository.commit({"elsewhere": "x\n"})
    changed = repository.commit({f"{FOLDER}/values.yaml": "replicas: 3\n"})

    with block.client() as client:
        assert client.holds_same(FOLDER, first, elsewhere)
        assert not client.holds_same(FOLDER, first, changed)
        with pytest.raises(GitRejected):
            client.holds_same(FOLDER, first, "0" * 40)


def test_a_commit_is_signed_when_a_key_is_given(repository: BareRepository, block: GitOps, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    allowed = tmp_path / "allowed"
    allowed.write_text(f"slipway@localhost {key.with_suffix('.pub').read_text()}")
    signing = block.model_copy(update={"signing_key_file": key})
    with signing.client() as client, client.checkout() as tree:
        tree.replace(FOLDER, {"values.yaml": b"replicas: 2\n"})
        repository.commit({"elsewhere": "x\n"})  # so that it is made anew on top

        sha = tree.publish(FOLDER, MESSAGE, topic="t")

    git(repository.folder, "-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-commit", sha)
    with pytest.raises(RuntimeError):
        git(repository.folder, "-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-commit", f"{sha}^")


def test_a_key_that_cannot_sign_is_named(block: GitOps, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("not a key\n")

    with pytest.raises(GitRejected, match="sign"):
        publish(block.model_copy(update={"signing_key_file": key}))


def test_links_in_the_repository_lead_nowhere(repository: BareRepository, block: GitOps, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    blob = git(repository.folder, "hash-object", "-w", "--stdin", stdin=str(outside)).strip()
    listing = git(repository.folder, "ls-tree", "main") + f"120000 blob {blob}\tlinked\n"
    tree = git(repository.folder, "mktree", stdin=listing).strip()
    commit = git(repository.folder, "commit-tree", tree, "-p", "main", "-m", "a link").strip()
    git(repository.folder, "update-ref", "refs/heads/main", commit)

    with block.client() as client, client.checkout() as checkout:
        assert checkout.read("linked") == str(outside)
        checkout.replace("linked", {"values.yaml": b"x"})
        checkout.publish("linked", CommitMessage(subject="a folder"), topic="t")

    assert list(outside.iterdir()) == []
    assert repository.read("linked/values.yaml") == "x"


def test_ssh_takes_the_given_key_and_trusts_no_host_that_is_not_known(tmp_path: Path) -> None:
    key, known = tmp_path / "a key", tmp_path / "known"
    for path in (key, known):
        path.touch(mode=0o600)
    command = ssh_command(GitOps(url="git@git.example:platform/models.git", ssh_key_file=key, known_hosts_file=known).settings())

    # what ssh itself makes of it
    told = subprocess.run([*shlex.split(command), "-G", "git.example"], capture_output=True, text=True, check=True).stdout.splitlines()

    assert {"stricthostkeychecking true", "batchmode yes", "identitiesonly yes", f"identityfile {key}"} <= set(told)
    assert [line for line in told if "knownhostsfile" in line] == ["globalknownhostsfile /dev/null", f"userknownhostsfile {known}"]


@pytest.mark.parametrize("path", ["{}", "../outside", "a/../../outside", "a//b", "", ".", ".git", ".git/config"])
def test_no_path_leads_out_of_the_working_copy(repository: BareRepository, block: GitOps, tmp_path: Path, path: str) -> None:
    # A folder of this test alone: it is all that is lost if this does not hold.
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    named = path.format(outside)

    with block.client() as client, client.checkout() as tree:
        for act in (
            lambda: tree.read(named),
            lambda: tree.write(named, "x"),
            lambda: tree.replace(named, {"kept": b"x"}),
            lambda: tree.restore([named], tree.head),
        ):
            with pytest.raises(GitRejected, match="is no path of a file or folder in"):
                act()
        with pytest.raises(GitRejected, match="is no path"):
            tree.restore("a/b", tree.head)  # type: ignore[arg-type]  # a text is a list of its letters, and one of them is the root
        assert (tree.folder / ".git" / "config").is_file()

    assert (outside / "kept").read_text() == "kept"
