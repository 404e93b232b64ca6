"""A connection string in a file: what is wrong with the file is one sentence, which never quotes what is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.errors import PipelineError
from flows.cli.shared import open_registry_of_file


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read from {path}: No such file or directory."),
        (b"\xff", "cannot be read from {path}: it is no text."),
        (b" \n", "{path} is empty: it must hold the registry's connection string."),
        (b"postgresql://slipway:hunter2@[db/registry", "the registry's connection string cannot be read"),
    ],
)
def test_a_file_that_holds_none(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "dsn"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(PipelineError) as refused, open_registry_of_file(path):
        pass

    assert said.format(path=path) in refused.value.message
    assert "hunter2" not in str(refused.value)
