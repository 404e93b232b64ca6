"""What a hub may answer: everything that is no listing is one sentence with the field, and nothing of it becomes a file on a node."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Mapping
from typing import Any

import pytest

from blocks.errors import HubRejected
from blocks.facts import HubCommit
from tests.support.told_hub import COMMIT, ToldHub

SHA, OTHER = COMMIT, "b" * 40
FILE = {"type": "file", "oid": "c" * 40, "size": 2, "path": "config.json"}
LARGE = {"type": "file", "oid": "d" * 40, "size": 5, "path": "model.safetensors", "lfs": {"oid": "e" * 64, "size": 5, "pointerSize": 134}}
INFO = {"id": "o/n", "sha": SHA, "gated": False, "cardData": {"license": "mit"}}


def read(*pages: bytes, revision: str = "main", **said: bytes) -> HubCommit:
    """What the block makes of such a listing."""
    return ToldHub(pages=list(pages), **said).client().commit("o/n", revision)


def entry(**changes: Any) -> Mapping[str, Any]:
    return {**FILE, **changes}


#: What a listing may hold that is none, as JSON or as it is; and the field that the sentence names.
LISTINGS: dict[str, tuple[Any, str]] = {
    "HTML": (b"<html><body>Sign in to the network</body></html>", "is no JSON"),
    "nothing": (b"", "is no JSON"),
    "half": (b'[{"type": "file"', "is no JSON"),
    "not UTF-8": (b'[{"type": "file", "path": "\xff\xfe"}]', "is no JSON"),
    "half a character": (b'[{"type": "file", "path": "\\ud800.json"}]', "list of files"),
    "deep": (b"[" * 100_000, "is no JSON"),
    "NaN": (b"NaN", "list of files"),
    "null": (None, "must be a valid array"),
    "an object": ({"error": "no"}, "must be a valid array"),
    "text": ("no", "must be a valid array"),
    "a number": (7, "must be a valid array"),
    "a list of null": ([None], "[0]"),
    "a list of text": (["config.json"], "[0]"),
    "a list of lists": ([[FILE]], "[0]"),
    "an empty entry": ([{}], "[0]"),
    "the second one": ([FILE, {}], "[1]"),
    **{f"no {field}": ([{k: v for k, v in FILE.items() if k != field}], f"[0].{field}" if field != "type" else "[0]") for field in FILE},
    **{f"type {value!r}": ([entry(type=value)], "[0]") for value in (None, 1, "", "symlink", "commit", ["file"])},
    **{f"size {value!r}": ([entry(size=value)], "[0].size") for value in (None, "2", -1, 2.5, True, [2], {"n": 2}, 2**63, 10**30)},
    "size 1e400": (b'[{"type":"file","oid":"' + b"c" * 40 + b'","size":1e400,"path":"a.json"}]', "[0].size"),
    "size of 5,000 digits": (
        b'[{"type":"file","oid":"' + b"c" * 40 + b'","size":' + b"9" * 5000 + b',"path":"a.json"}]', "list of files"),
    **{f"oid {v!r}"[:30]: ([entry(oid=v)], "[0].oid") for v in (None, 1, "", "c" * 39, "c" * 41, "C" * 40, "g" * 40, "c" * 40 + "\n")},
    **{f"lfs {value!r}"[:30]: ([{**LARGE, "lfs": value}], "[0].lfs") for value in ("yes", 1, [], {}, {"oid": "e" * 64}, {"size": 5})},
    **{
        f"lfs.oid {value!r}"[:30]: ([{**LARGE, "lfs": {"oid": value, "size": 5}}], "[0].lfs.oid")
        for value in (None, "", "e" * 40, "E" * 64, 5, "sha256:" + "e" * 64)
    },
    **{f"lfs.size {value!r}": ([{**LARGE, "lfs": {"oid": "e" * 64, "size": value}}], "[0].lfs.size") for value in (None, -1, "5", 2**60)},
    "two sizes": ([{**LARGE, "size": 6}], "model.safetensors has two sizes"),
    **{f"path {value!r}": ([entry(path=value)], "[0].path") for value in (None, 1, ["a"], {"a": "b"})},
    **{
        f"path {value!r}"[:40]: ([entry(path=value)], "[0].path")
        for value in (
            "", ".", "..", "/", "//", "../x.json", "a/../../x.json", "/etc/passwd", "./x.json", "a/./x.json",
            "a//x.json", "a/", "a\\b.json",
            "x\n.json", "x\r\n.json", "x\x00.json", "x\x1b[31m.json", "x\x7f.json", "x\x85.json", "x\u2028.json", "x\u202egnp.json",
            "x" * 4096, "x" * 256 + "/a.json", "é" * 200 + ".json", "/".join(["ab"] * 400),
        )
    },
    "a file twice": ([FILE, FILE], "config.json is there twice"),
    "a file and a folder": ([entry(path="a"), entry(path="a/b.json")], "a is a file and a folder"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LISTINGS)
def test_a_malformed_listing_is_one_sentence_with_the_field(kind: str) -> None:
    body, field = LISTINGS[kind]

    with pytest.raises(HubRejected) as caught:
        read(body if isinstance(body, bytes) else json.dumps(body).encode())

    assert caught.value.message.startswith("The hub https://hub.test answers wrongly for o/n: its list of files")
    assert field in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500


def test_the_kinds_are_as_many_as_were_reported() -> None:
    assert len(LISTINGS) >= 75


@pytest.mark.parametrize(
    ("info", "says"),
    [
        (b"<html>", "its revision is no JSON"),
        (b"[]", "its revision must be an object"),
        (json.dumps({**INFO, "sha": None}).encode(), "revision: sha"),
        (json.dumps({**INFO, "sha": "main"}).encode(), "revision: sha must be 40 hexadecimal digits"),
        (json.dumps({"id": "o/n"}).encode(), "revision: sha is missing"),
        (json.dumps({**INFO, "id": "../../etc"}).encode(), "revision: id must be organisation/name"),
        (json.dumps({**INFO, "id": 7}).encode(), "revision: id"),
        (json.dumps({**INFO, "gated": "perhaps"}).encode(), "revision: gated"),
        (json.dumps({**INFO, "cardData": ["mit"]}).encode(), "revision: cardData"),
    ],
)
def test_malformed_information_is_one_sentence_with_the_field(info: bytes, says: str) -> None:
    with pytest.raises(HubRejected) as caught:
        read(json.dumps([FILE]).encode(), info=info)

    assert says in caught.value.message
    assert caught.value.message.isprintable()


def test_what_hubs_add_is_left_where_it_is() -> None:
    more = {"lastCommit": {"title": "x"}, "security": [], "xetHash": "f" * 64}
    folder = {"type": "directory", "oid": "", "size": 0, "path": ".."}

    found = read(
        json.dumps([folder, {**FILE, **more}]).encode(), json.dumps([{**LARGE, **more}, entry(path="データ/モデル 1.png")]).encode()
    )

    assert [(file.path, file.algorithm) for file in found.files] == [
        ("config.json", "git-sha1"),
        ("model.safetensors", "sha256"),
        ("データ/モデル 1.png", "git-sha1"),
    ]


def test_a_listing_without_end_ends() -> None:
    pages = [json.dumps([entry(path=f"{page}.json")]).encode() for page in range(3000)]

    with pytest.raises(HubRejected, match="no model has so many"):
        read(*pages)


def test_another_commit_than_the_one_that_was_asked_for_is_refused() -> None:
    with pytest.raises(HubRejected, match=f"answers with commit {SHA}"):
        read(json.dumps([FILE]).encode(), revision=OTHER)


def test_a_new_name_is_told_and_taken() -> None:
    told = ToldHub(pages=[json.dumps([FILE]).encode()], info=json.dumps({**INFO, "id": "o/new"}).encode())

    found = told.client().commit("o/n", "main")

    assert found.repository == "o/new"
    assert found.notes == ("o/n is called o/new on the hub now, and is recorded as that: change `repository` in the model's file.",)
    assert told.asked[-1].startswith("https://hub.test/api/models/o/new/tree/")


@pytest.mark.parametrize(("branch", "tag", "taken"), [(SHA, OTHER, "branch"), (OTHER, SHA, "tag")])
def test_a_name_of_a_branch_and_a_tag_says_which_was_taken(branch: str, tag: str, taken: str) -> None:
    refs = {"branches": [{"name": "v1", "ref": "refs/heads/v1", "targetCommit": branch}], "tags": [{"name": "v1", "targetCommit": tag}]}

    (note,) = read(json.dumps([FILE]).encode(), refs=json.dumps(refs).encode(), revision="v1").notes

    assert f"the {taken} was taken, commit {SHA[:12]}" in note
    assert read(json.dumps([FILE]).encode(), refs=json.dumps(refs).encode()).notes == ()


@pytest.mark.parametrize("revision", ["", ".", "..", "x\n", "v" * 256, "\x1b[31m"])
def test_a_revision_that_is_none_is_refused_before_anything_is_asked(revision: str) -> None:
    told = ToldHub()

    with pytest.raises(HubRejected, match="is not a revision of o/n"):
        told.client().commit("o/n", revision)
    assert told.asked == []


def test_generated_listings_make_no_traceback() -> None:
    """500 listings from a seed, with something wrong in most; `make attack` has more."""
    generator = random.Random(21)
    refused = 0
    for _ in range(500):
        body = json.dumps([generated(generator) for _ in range(generator.randrange(4))]).encode()
        if generator.random() < 0.1:
            body = body[: generator.randrange(len(body))]
        try:
            files, said = read(body).files, ""
        except HubRejected as exc:
            files, said = (), exc.message
        refused += bool(said)
        assert said.isprintable()
        assert all(file.path.isprintable() and ".." not in file.path.split("/") for file in files)
    assert 100 < refused < 500


def generated(generator: random.Random) -> Any:
    """An entry of a listing with up to two things changed."""
    made: dict[str, Any] = json.loads(json.dumps(generator.choice([FILE, LARGE])))
    made["path"] = "".join(generator.choices(string.ascii_lowercase + "/._-", k=generator.randrange(1, 12)))
    odd = [None, True, -1, 0, 2**70, 1.5, "", "x", [], {}, "\u2028", "../x", "e" * 64, "c" * 40]
    for _ in range(generator.randrange(3)):
        target = made["lfs"] if isinstance(made.get("lfs"), dict) and generator.random() < 0.4 else made
        target[generator.choice(["type", "path", "oid", "size", "lfs"])] = generator.choice(odd)
    return made if generator.random() > 0.05 else generator.choice(odd)
