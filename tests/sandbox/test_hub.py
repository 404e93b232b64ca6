"""The real `huggingface_hub` client against the stand-in hub: naming, downloading and being refused."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sandbox.hub import Hub
from sandbox.models import make_model
from sandbox.serving import LoopThread

FILES = make_model(shards=2)
TOKEN = "hf_granted"
STRANGER = "hf_stranger"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with LoopThread("hub-tests") as loop, Hub(tmp_path_factory.mktemp("hub"), loop, page_size=4) as running:
        running.tokens[TOKEN] = set()
        running.tokens[STRANGER] = set()
        yield running


@pytest.fixture
def repo(hub: Hub) -> str:
    """The name of a repository that no other test uses, which one token is granted; the log starts empty."""
    name = f"slipway-demo/tiny-{uuid.uuid4().hex[:8]}"
    hub.tokens[TOKEN].add(name)
    hub.requests.clear()
    return name


def api(hub: Hub, token: str | None = None) -> HfApi:
    return HfApi(endpoint=hub.url, token=token or False)


def test_a_branch_resolves_to_the_newest_commit_and_earlier_ones_stay(hub: Hub, repo: str) -> None:
    first = hub.add(repo, FILES, tag="v1")
    second = hub.add(repo, make_model(seed=7))

    assert api(hub).model_info(repo).sha == second
    assert api(hub).model_info(repo, revision="v1").sha == first
    assert api(hub).model_info(repo, revision=first).sha == first
    refs = api(hub).list_repo_refs(repo)
    assert {branch.name: branch.target_commit for branch in refs.branches} == {"main": second}
    assert {tag.name: tag.target_commit for tag in refs.tags} == {"v1": first}


def test_a_branch_name_may_hold_a_slash(hub: Hub, repo: str) -> None:
    sha = hub.add(repo, FILES, branch="refs-like/one")

    assert api(hub).model_info(repo, revision="refs-like/one").sha == sha
    with pytest.raises(RevisionNotFoundError):
        api(hub).model_info(repo)


def test_model_information_tells_licence_parameters_and_sizes(hub: Hub, repo: str) -> None:
    hub.add(repo, FILES)

    info = api(hub).model_info(repo, files_metadata=True)

    assert info.card_data is not None
    assert info.card_data.license == "apache-2.0"
    assert info.safetensors is not None
    assert info.safetensors.total == sum(len(FILES[name]) // 4 for name in FILES if name.endswith(".safetensors")) - _header_floats()
    assert {sibling.rfilename: sibling.size for sibling in info.siblings or []} == {name: len(content) for name, content in FILES.items()}
    shard = next(sibling for sibling in info.siblings or [] if sibling.rfilename == "model-00001-of-00002.safetensors")
    assert shard.lfs is not None
    assert shard.lfs.sha256 == hashlib.sha256(FILES[shard.rfilename]).hexdigest()


def _header_floats() -> int:
    shards = [content for name, content in FILES.items() if name.endswith(".safetensors")]
    return sum((8 + int.from_bytes(content[:8], "little")) // 4 for content in shards)


def test_a_licence_given_to_the_hub_wins_over_the_model_card(hub: Hub, repo: str) -> None:
    hub.add(repo, FILES, licence="llama3")

    info = api(hub).model_info(repo)

    assert info.card_data is not None
    assert info.card_data.license == "llama3"
    assert "license:llama3" in (info.tags or [])


def test_only_what_is_asked_for_comes_back(hub: Hub, repo: str) -> None:
    sha = hub.add(repo, FILES)

    info = api(hub).model_info(repo, expand=["sha", "gated"])

    assert (info.sha, info.gated, info.siblings) == (sha, False, None)


def test_a_tree_comes_in_pages_with_hashes_and_folders(hub: Hub, repo: str) -> None:
    files = {**FILES, "original/deep/params.json": b"{}", "original/notes.txt": b"x"}
    hub.add(repo, files)

    everything = {entry.path: entry for entry in api(hub).list_repo_tree(repo, recursive=True)}
    top = {entry.path for entry in api(hub).list_repo_tree(repo)}

    assert set(everything) == {*files, "original", "original/deep"}
    assert top == {*FILES, "original"}
    assert {entry.path for entry in api(hub).list_repo_tree(repo, "original")} == {"original/deep", "original/notes.txt"}
    shard = everything["model-00002-of-00002.safetensors"]
    assert shard.lfs.sha256 == hashlib.sha256(files[shard.path]).hexdigest()
    assert len([entry for entry in hub.requests if "cursor=" in entry.query]) >= 3
    assert set(api(hub).list_repo_files(repo)) == set(files)


def test_the_metadata_of_a_large_file_names_its_hash_and_another_origin(hub: Hub, repo: str) -> None:
    sha = hub.add(repo, FILES)
    name = "model-00001-of-00002.safetensors"

    metadata = api(hub).get_hf_file_metadata(url=f"{hub.url}/{repo}/resolve/main/{name}")

    assert metadata.commit_hash == sha
    assert metadata.etag == hashlib.sha256(FILES[name]).hexdigest()
    assert metadata.size == len(FILES[name])
    assert metadata.location.startswith(hub.cdn_url)


def test_a_snapshot_has_the_bytes_that_were_added(hub: Hub, repo: str, tmp_path: Path) -> None:
    sha = hub.add(repo, FILES)

    folder = Path(snapshot_download(repo, revision=sha, cache_dir=tmp_path / "cache", endpoint=hub.url, token=TOKEN))

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert hub.requests.leaks() == []
    shards = sum(len(content) for name, content in FILES.items() if name.endswith(".safetensors"))
    assert hub.requests.bytes_sent("cdn") == shards
    assert any(entry.authorized for entry in hub.requests)


def test_a_complete_snapshot_costs_no_request(hub: Hub, repo: str, tmp_path: Path) -> None:
    sha = hub.add(repo, FILES)
    snapshot_download(repo, revision=sha, cache_dir=tmp_path / "cache", endpoint=hub.url, token=False)
    hub.requests.clear()

    snapshot_download(repo, revision=sha, cache_dir=tmp_path / "cache", endpoint=hub.url, token=False)

    assert list(hub.requests) == []


def test_one_file_can_be_downloaded_from_a_branch(hub: Hub, repo: str, tmp_path: Path) -> None:
    hub.add(repo, FILES)

    path = api(hub).hf_hub_download(repo, "config.json", cache_dir=tmp_path)

    assert Path(path).read_bytes() == FILES["config.json"]


def test_safetensors_headers_are_read_by_ranges_alone(hub: Hub, repo: str, tmp_path: Path) -> None:
    hub.add(repo, {"model.safetensors": make_model(dtype="bfloat16")["model.safetensors"]})

    metadata = api(hub).get_safetensors_metadata(repo)

    assert metadata.files_metadata["model.safetensors"].tensors["lm_head.weight"].shape == [264, 768]
    assert metadata.parameter_count == {"BF16": 264 * 16 + 48 * 768 * 16 + 768 + 264 * 768 + 264}
    assert hub.requests.bytes_sent("cdn") <= 100_001


@pytest.mark.parametrize(
    ("header", "status", "expected"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=100-999999999", 206, slice(100, None)),
        ("bytes=999999999-", 416, slice(0, 0)),
        ("bytes=0-1,4-5", 200, slice(None)),
    ],
)
def test_ranges(hub: Hub, repo: str, header: str, status: int, expected: slice) -> None:
    hub.add(repo, FILES)
    name = "model-00001-of-00002.safetensors"

    answer = httpx.get(f"{hub.url}/{repo}/resolve/main/{name}", headers={"Range": header}, follow_redirects=True)

    assert (answer.status_code, answer.content) == (status, FILES[name][expected])


def test_a_file_may_be_given_by_its_path(hub: Hub, repo: str, tmp_path: Path) -> None:
    source = tmp_path / "weights"
    source.write_bytes(bytes(range(256)) * 20_000)

    hub.add(repo, {"model.safetensors": source})

    answer = httpx.get(f"{hub.url}/{repo}/resolve/main/model.safetensors", follow_redirects=True)
    assert answer.content == source.read_bytes()


def test_a_path_out_of_the_repository_is_refused(hub: Hub, repo: str) -> None:
    with pytest.raises(ValueError, match="not a path inside"):
        hub.add(repo, {"../outside": b""})


def test_what_is_missing_is_named(hub: Hub, repo: str, tmp_path: Path) -> None:
    hub.add(repo, FILES)

    with pytest.raises(RepositoryNotFoundError):
        api(hub).model_info("slipway-demo/nothing")
    with pytest.raises(RepositoryNotFoundError):
        api(hub, TOKEN).model_info("slipway-demo/nothing")
    for revision in ("0" * 40, "größe", "日本"):
        with pytest.raises(RevisionNotFoundError):
            api(hub).model_info(repo, revision=revision)
    with pytest.raises(RemoteEntryNotFoundError):
        api(hub).hf_hub_download(repo, "nothing.json", cache_dir=tmp_path)


def test_a_gated_repository_shows_itself_but_not_its_files(hub: Hub, repo: str, tmp_path: Path) -> None:
    hub.add(repo, FILES, gated="manual")

    assert api(hub).model_info(repo).gated == "manual"
    assert len(list(api(hub).list_repo_tree(repo))) == len(FILES)
    for token in (None, STRANGER):
        with pytest.raises(GatedRepoError):
            api(hub, token).auth_check(repo)
        with pytest.raises(GatedRepoError):
            api(hub, token).hf_hub_download(repo, "config.json", cache_dir=tmp_path)
    api(hub, TOKEN).auth_check(repo)
    path = api(hub, TOKEN).hf_hub_download(repo, "config.json", cache_dir=tmp_path)
    assert Path(path).read_bytes() == FILES["config.json"]


def test_a_private_repository_does_not_exist_for_strangers(hub: Hub, repo: str) -> None:
    sha = hub.add(repo, FILES, private=True)

    for token in (None, STRANGER):
        with pytest.raises(RepositoryNotFoundError):
            api(hub, token).model_info(repo)
    assert api(hub, TOKEN).model_info(repo).sha == sha


def test_a_disabled_repository_says_so(hub: Hub, repo: str) -> None:
    hub.add(repo, FILES, disabled=True)

    with pytest.raises(DisabledRepoError):
        api(hub).model_info(repo)


def test_a_token_is_known_or_refused(hub: Hub, repo: str) -> None:
    hub.add(repo, FILES)

    assert api(hub, TOKEN).whoami()["name"] == "slipway-demo-user"
    with pytest.raises(HfHubHTTPError, match="Invalid"):
        api(hub, "hf_unknown").model_info(repo)


def test_a_leaked_token_is_noticed(hub: Hub, repo: str) -> None:
    hub.add(repo, FILES)
    link = httpx.head(f"{hub.url}/{repo}/resolve/main/model-00001-of-00002.safetensors").headers["location"]

    httpx.get(link, headers={"Authorization": f"Bearer {TOKEN}"})

    assert [entry.path.rsplit("/", 1)[-1] for entry in hub.requests.leaks()] == ["model-00001-of-00002.safetensors"]


def test_a_link_that_was_not_handed_out_is_refused(hub: Hub, repo: str) -> None:
    hub.add(repo, FILES)
    link = httpx.head(f"{hub.url}/{repo}/resolve/main/model-00001-of-00002.safetensors").headers["location"]

    assert httpx.get(link.replace("signature=", "signature=0")).status_code == 403
    assert httpx.get(link).status_code == 200


def test_the_log_keeps_only_the_latest() -> None:
    from sandbox.hub import LoggedRequest, RequestLog

    log = RequestLog(limit=2)
    for path in "abc":
        log.append(LoggedRequest(origin="hub", method="GET", path=path, query="", range=None, authorized=False))

    assert [entry.path for entry in log] == ["b", "c"]


def test_a_renamed_repository_is_found_by_its_old_name(hub: Hub, repo: str, tmp_path: Path) -> None:
    sha = hub.add(repo, FILES)
    hub.rename(repo, f"{repo}-renamed")

    assert (api(hub).model_info(repo).id, api(hub).model_info(repo).sha) == (f"{repo}-renamed", sha)
    folder = snapshot_download(repo, revision=sha, endpoint=hub.url, cache_dir=tmp_path, token=False)
    assert {path.name for path in Path(folder).iterdir()} == set(FILES)


def test_a_pull_request_is_a_revision_and_no_branch(hub: Hub, repo: str) -> None:
    hub.add(repo, FILES)
    proposed = hub.add(repo, make_model(seed=7), branch="refs/pr/1")

    assert api(hub).model_info(repo, revision="refs/pr/1").sha == proposed
    assert [branch.name for branch in api(hub).list_repo_refs(repo).branches] == ["main"]


def test_a_hub_below_a_path_is_a_hub(tmp_path: Path) -> None:
    with LoopThread() as loop, Hub(tmp_path / "hub", loop, page_size=4, below="/mirror") as below:
        sha = below.add("slipway-demo/tiny", FILES)

        folder = snapshot_download("slipway-demo/tiny", endpoint=below.url, cache_dir=tmp_path / "cache", token=False)

    assert (Path(folder).name, {path.name for path in Path(folder).iterdir()}) == (sha, set(FILES))


def test_large_files_of_a_xet_repository_come_from_its_store(hub: Hub, repo: str, tmp_path: Path) -> None:
    hub.add(repo, FILES, private=True, xet=True)

    folder = snapshot_download(repo, endpoint=hub.url, cache_dir=tmp_path, token=TOKEN)

    assert all((Path(folder) / path).read_bytes() == content for path, content in FILES.items())
    assert hub.requests.bytes_sent("cas") > hub.requests.bytes_sent("cdn") == 0
