"""What docs/architecture.svg shows, taken from the import graph: `make architecture`.

Floors are those of the import contract in pyproject.toml, arrows what grimp finds. An arrow that follows from others is left out: who
reaches a room by way of another one may import it, too. The picture's description is its text: `measured` makes it of the code,
`picture` draws it, and a test compares the two.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
SVG = ROOT / "docs" / "architecture.svg"

#: The flows of one floor are one box: no flow imports another, and what one of them may import all may.
FLOWS = "flows"
BLOCKS = "blocks"


@dataclass(frozen=True, kw_only=True)
class Room:
    """A room, or the box of all flows, or the blocks.

    Attributes:
        name: Its folder's name.
        floor: Its floor, counted from the top.
        lines: Its lines of code, comments included.
        parts: What the box lists beside its name.
        imports: The rooms that an arrow leads to.
    """

    name: str
    floor: int
    lines: int
    parts: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One line of the picture's description."""
        inside = f" ({', '.join(self.parts)})" if self.parts else ""
        return f"{self.floor} {self.name}{inside}: {self.lines} lines" + (f"; imports {', '.join(self.imports)}" if self.imports else "")

    @classmethod
    def of(cls, text: str) -> Room:
        """The room of a line of the description."""
        head, _, rest = text.partition(": ")
        floor, _, named = head.partition(" ")
        name, _, parts = named.rstrip(")").partition(" (")
        lines, _, imports = rest.partition("; imports ")
        split = {key: tuple(value.split(", ")) if value else () for key, value in (("parts", parts), ("imports", imports))}
        return cls(name=name, floor=int(floor), lines=int(lines.removesuffix(" lines")), **split)


def measured() -> list[Room]:
    """What the code is now, from the top floor down."""
    floors = _floors()
    flows = {name for names in floors for name in names if (ROOT / "flows" / f"{name}.py").exists() and "release" in names}
    graph = grimp.build_graph("flows", "blocks", cache_dir=None)
    arrows: dict[str, set[str]] = {}
    for module in graph.modules:
        here = _room(module, flows)
        for imported in graph.find_modules_directly_imported_by(module):
            there = _room(imported, flows)
            if here and there and here != there:
                arrows.setdefault(here, set()).add(there)
    rooms = []
    for number, names in enumerate([*floors, [BLOCKS]]):
        if flows & set(names):
            rooms.append(_of_code(FLOWS, number, [ROOT / "flows" / f"{name}.py" for name in names], tuple(names), arrows))
            continue
        for name in names:
            folder = ROOT / "blocks" if name == BLOCKS else ROOT / "flows" / name
            systems = tuple(_systems()) if name == BLOCKS else ()
            rooms.append(_of_code(name, number, [folder if folder.is_dir() else folder.with_suffix(".py")], systems, arrows))
    return rooms


def _floors() -> list[list[str]]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers: list[str] = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def _systems() -> list[str]:
    """What there is a Prefect block for."""
    return sorted(set(re.findall(r"^from blocks\.(\w+)", (ROOT / "blocks" / "registration.py").read_text(), re.MULTILINE)))


def _room(module: str, flows: set[str]) -> str:
    package, *rest = module.split(".")
    if package == BLOCKS:
        return BLOCKS
    if not rest:
        return ""
    return FLOWS if rest[0] in flows else rest[0]


def _of_code(name: str, floor: int, paths: Sequence[Path], parts: tuple[str, ...], arrows: Mapping[str, set[str]]) -> Room:
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*.*"))]
    lines = sum(len(file.read_text().splitlines()) for file in files if file.suffix in (".py", ".sql", ".jinja"))
    own = arrows.get(name, set())
    direct = {one for one in own if not any(one in _reached(other, arrows) for other in own if other != one)}
    return Room(name=name, floor=floor, lines=lines, parts=parts, imports=tuple(sorted(direct)))


def _reached(room: str, arrows: Mapping[str, set[str]]) -> set[str]:
    return {one for direct in arrows.get(room, ()) for one in {direct} | _reached(direct, arrows)}


def described(svg: str) -> list[Room]:
    """The rooms that a picture shows."""
    return [Room.of(line) for line in svg.partition('<desc id="text">\n')[2].partition("\n</desc>")[0].replace("&gt;", ">").splitlines()]


if __name__ == "__main__":
    from tests.project.drawing import picture

    SVG.write_text(picture(measured()))
