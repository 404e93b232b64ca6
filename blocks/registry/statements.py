"""SQL texts by name: `sql/<name>.sql` holds one statement each, `migrations/NNNN_<name>.sql` the scripts that build the schema."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, kw_only=True)
class Migration:
    """A numbered script.

    Attributes:
        name: The file's name without its suffix.
        script: Its text.
    """

    name: str
    script: str

    @property
    def sha256(self) -> str:
        """Checksum of the text (hex)."""
        return hashlib.sha256(self.script.encode()).hexdigest()


@cache
def statement(name: str) -> bytes:
    """The statement of that name, as psycopg takes it."""
    # Bytes: psycopg's types take a `str` only where it is a literal.
    return files("blocks.registry").joinpath("sql", f"{name}.sql").read_bytes()


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations, in the order in which they are applied."""
    folder = files("blocks.registry").joinpath("migrations")
    scripts = sorted((path for path in folder.iterdir() if path.name.endswith(".sql")), key=lambda path: path.name)
    return tuple(Migration(name=path.name.removesuffix(".sql"), script=path.read_text(encoding="utf-8")) for path in scripts)
