"""The hub's answers as they must be. Strangers write in them: nothing else of what they hold gets in, and what is wrong is one sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from blocks.errors import HubRejected

T = TypeVar("T")

#: Larger than any file of any model (the hub takes 500 GB).
MOST_FILE_BYTES = 2**50

#: The longest path, and the longest name in it: what file systems hold (`NAME_MAX` of Linux).
_MOST_PATH, _MOST_NAME_BYTES = 1024, 255

#: What no path of a model has a use for: control characters, line ends, halves of characters, and what turns the reading direction round.
_UNREADABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _relative(path: str) -> str:
    """Require a path that stays in its folder and has one spelling."""
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError("is a path that leaves its folder")
    if "." in parts or "" in parts:
        raise ValueError("is no path, or one with a second spelling ('.', '//' or '/' at its end)")
    if _UNREADABLE.search(path):
        raise ValueError("is a path with control characters")
    if len(path) > _MOST_PATH or max(len(part.encode()) for part in parts) > _MOST_NAME_BYTES:
        raise ValueError(f"is a path of more than {_MOST_PATH:,} characters, or of more than {_MOST_NAME_BYTES} bytes between slashes")
    return path


#: Patterns, with what messages say of them.
_PATTERNS = {
    r"^[0-9a-f]{40}$": "must be 40 hexadecimal digits",
    r"^[0-9a-f]{64}$": "must be 64 hexadecimal digits (a SHA-256)",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}$": "must be organisation/name",
}
_SHA1, _SHA256, _REPOSITORY = _PATTERNS

_Size = Annotated[int, Field(ge=0, le=MOST_FILE_BYTES)]
_Sha1 = Annotated[str, StringConstraints(pattern=_SHA1)]
_Sha256 = Annotated[str, StringConstraints(pattern=_SHA256)]


class _Part(BaseModel):
    """What is named here is checked; what else the hub sends is left where it is."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class LargeFile(_Part):
    """What the hub tells of a file in large-file storage: its SHA-256 and size."""

    oid: _Sha256
    size: _Size


class ListedFile(_Part):
    """A file of a commit; `oid` is git's blob hash, of the pointer where the file is large."""

    type: Literal["file"]
    path: Annotated[str, AfterValidator(_relative)]
    oid: _Sha1
    size: _Size
    lfs: LargeFile | None = None


class ListedFolder(_Part):
    """A folder of a commit; its files have lines of their own."""

    type: Literal["directory"]


Page = list[Annotated[ListedFile | ListedFolder, Field(discriminator="type")]]


class ModelInfo(_Part):
    """What the hub says of a revision: its commit, the repository's name now, its gate, and the model card's front matter."""

    sha: _Sha1
    id: Annotated[str, StringConstraints(pattern=_REPOSITORY)] | None = None
    gated: bool | Literal["auto", "manual"] | None = None
    cardData: dict[str, Any] | None = None  # the hub's name


class _Reference(_Part):
    name: Annotated[str, StringConstraints(max_length=1000)]
    targetCommit: _Sha1  # the hub's name


class References(_Part):
    """Branches and tags of a repository, with their commits."""

    branches: list[_Reference] = []
    tags: list[_Reference] = []


PAGE: TypeAdapter[Page] = TypeAdapter(Page)
MODEL_INFO = TypeAdapter(ModelInfo)
REFERENCES = TypeAdapter(References)


def validated(adapter: TypeAdapter[T], body: bytes, shown: str) -> T:
    """What the answer says.

    Args:
        adapter: What it must be.
        body: The answer.
        shown: How messages begin: who answered what.

    Raises:
        HubRejected: It is something else; the sentence names the first field that is wrong.
    """
    try:
        return adapter.validate_json(body)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        # Of a union pydantic names the member as well: `0.file.path` is `[0].path`.
        place = [part for part in first["loc"] if part not in ("file", "directory")]
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
        problem = _problem(first["type"], first["msg"], first.get("ctx", {}))
        raise HubRejected(f"{shown}{f': {field}' if field else ''} {problem}. Use another revision, or check that it is a hub.") from exc


def _problem(kind: str, message: str, context: Mapping[str, Any]) -> str:
    if kind == "json_invalid":
        return "is no JSON"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return _PATTERNS[str(context["pattern"])]
    if kind.startswith("union_tag"):  # whose own message repeats what came
        return "must be a file or a directory (`type`)"
    return message.replace("Input should", "must")


def is_repository(name: str) -> bool:
    """Whether it is a repository's name, `organisation/name`."""
    return re.fullmatch(_REPOSITORY.strip("^$"), name) is not None


def is_commit(revision: str) -> bool:
    """Whether a revision is a commit's SHA, and so no name that moves."""
    return re.fullmatch(_SHA1.strip("^$"), revision) is not None
