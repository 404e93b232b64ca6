"""How often a reader enters a folder again who follows a candidate, an environment or the registry through the code.

A trip starts at a function and one of its parameters, or a field of one (`move.candidate`). The reader follows the calls that pass it on,
by name and through imports, depth first in the order of the source: `f(candidate)`, `run(f, candidate)`, `Class(candidate=candidate)` with
the class's methods, methods that only one or two classes have, and calls that pass on an object which was made with it. Each function is
read once. Folders are those seen from the doors of `flows` and `blocks`: a room with its `tasks`. A call that leads from its folder into
another one, in which the reader has been before, counts one; going back to the caller does not.

Twelve trips: six subjects, two words each, each word four times (planning knows no registry). At the commit before the layout by concern
(8a72898) 54 of the 164 functions that are read lead into a folder again, a third, where the review that led to it had counted 51; in this
layout 20 of 190 did at first, and with canaries 46 of 341, a seventh. `python -m tests.project.trips FOLDER` counts in another tree, as
`git archive 8a72898` gives it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: What each subject's trips follow, and where they start, as `function(what holds it)`: in this layout, and in the one before.
TRIPS: tuple[tuple[str, tuple[str, str], tuple[str, ...]], ...] = (
    ("gate", ("candidate", "environment"), ("flows.approval.gate.pass_gate()", "flows.gate.pass_gate()")),
    ("planning", ("candidate", "environment"), ("flows.placement.tasks.plan()", "flows.tasks.plan.plan()")),
    ("delivery and sync", ("candidate", "registry"), ("flows.delivery.tasks.deploy(move)", "flows.delivery.deliver(move)")),
    ("verification", ("environment", "registry"), ("flows.promotion.tasks.verify(move)", "flows.proof.proven()")),
    ("promotion", ("environment", "registry"), ("flows.promotion.promote.promote(move)", "flows.entering.enter(move)")),
    ("recovery", ("candidate", "registry"), ("flows.recovery.recover.recover(move)", "flows.going_back.settle(move)")),
)

#: Functions that call what they are given first.
_CALLERS = {"run", "call", "partial", "to_thread"}


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A function or class, and where it stands."""

    module: str
    folder: str
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass
class Module:
    """What a file defines, and what its names of elsewhere mean."""

    definitions: dict[str, Definition] = field(default_factory=dict)
    methods: dict[str, list[Definition]] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=dict)


def modules(root: Path) -> dict[str, Module]:
    """The modules of `flows` and `blocks` by their dotted names."""
    found = {}
    for path in sorted(path for package in ("flows", "blocks") for path in (root / package).rglob("*.py")):
        relative = path.relative_to(root)
        name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        module = found[name] = Module()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                module.imported |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                folder = "/".join(relative.parent.parts[:2])
                module.definitions[node.name] = Definition(module=name, folder=folder, node=node)
                for method in node.body if isinstance(node, ast.ClassDef) else ():
                    if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                        module.methods.setdefault(method.name, []).append(Definition(module=name, folder=folder, node=method))
    return found


@dataclass
class Trip:
    """One reader's way.

    Attributes:
        known: All modules.
        word: What is followed: the parameter's name.
        folders: Where the functions stand that were read, in that order.
        entered_again: How many calls led into a folder that was left before.
    """

    known: dict[str, Module]
    word: str
    folders: list[str] = field(default_factory=list)
    entered_again: int = 0
    _read: set[str] = field(default_factory=set)

    def follow(self, definition: Definition, names: set[str], come_from: str = "") -> None:
        """Read a definition in which the names hold what is followed, or an object that holds it; from which folder it is come to."""
        key = f"{definition.module}:{definition.node.lineno}"
        if key in self._read:
            return
        self._read.add(key)
        self.entered_again += definition.folder != come_from and definition.folder in self.folders
        self.folders.append(definition.folder)
        names = set(names)
        for node in _in_order(definition.node):
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.withitem):
                names |= {name for name, value in _assigned(node) if self._kept(value, names)}
            elif isinstance(node, ast.Call):
                self._call(definition, node, names)

    def _call(self, at: Definition, call: ast.Call, names: set[str]) -> None:
        called, arguments = call.func, list(call.args)
        if ast.unparse(called).rpartition(".")[2] in _CALLERS and arguments:
            called = arguments.pop(0)
        target = self.resolve(at.module, ast.unparse(called))
        for one in [target] if target is not None else self._methods(called):
            given = {name for name, value in _passed(one.node, arguments, call.keywords) if self._holds(value, names)}
            if given:
                self.follow(one, given, at.folder)

    def _methods(self, called: ast.expr) -> list[Definition]:
        """The methods of that name, where it tells by itself which they are: of one class, or of two that may stand for one another."""
        name = called.attr if isinstance(called, ast.Attribute) else ""
        found = [method for module in self.known.values() for method in module.methods.get(name, ())]
        return found if len(found) <= 2 else []

    def _kept(self, value: ast.expr, names: set[str]) -> bool:
        """Whether a value is what is followed, or an object that was made with it."""
        if isinstance(value, ast.Call):
            return ast.unparse(value.func).rpartition(".")[2].lstrip("_")[:1].isupper() and self._holds(value, names)
        return self._holds(value, names)

    def _holds(self, value: ast.expr, names: set[str]) -> bool:
        if isinstance(value, ast.Starred):
            value = value.value
        text = ast.unparse(value)
        if text in names:
            return True
        if isinstance(value, ast.Attribute):
            return value.attr.lstrip("_") == self.word and ast.unparse(value.value) in names | {"self"}
        if isinstance(value, ast.Call):  # an object that is made, or a function that is bound, on the way
            return any(self._holds(argument, names) for argument in [*value.args, *(keyword.value for keyword in value.keywords)])
        return False

    def resolve(self, module: str, name: str) -> Definition | None:
        """The definition that a name means in a module."""
        head, _, rest = name.partition(".")
        known = self.known[module]
        if not rest and head in known.definitions:
            return known.definitions[head]
        if head not in known.imported:
            return None
        full = f"{known.imported[head]}.{rest}".rstrip(".")
        owner, _, last = full.rpartition(".")
        if owner in self.known and owner != module:
            return self.resolve(owner, last)
        return None


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    """Statements and calls in the order in which a reader comes to them: what is inside first."""
    for child in ast.iter_child_nodes(node):
        yield from _in_order(child)
        yield child


def _assigned(node: ast.Assign | ast.AnnAssign | ast.withitem) -> Iterator[tuple[str, ast.expr]]:
    """The names with what each of them is given; `a, b = c, d` gives two."""
    if isinstance(node, ast.withitem):
        targets, value = [node.optional_vars], node.context_expr
    else:
        targets, value = node.targets if isinstance(node, ast.Assign) else [node.target], node.value
    for target in targets:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            yield from zip(map(ast.unparse, target.elts), value.elts, strict=False)
        elif target is not None and value is not None:
            yield ast.unparse(target), value


def _passed(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, arguments: list[ast.expr], keywords: list[ast.keyword]
) -> Iterator[tuple[str, ast.expr]]:
    """The parameters' names with what is given for them."""
    yield from zip(_parameters(node), arguments, strict=False)
    yield from ((keyword.arg, keyword.value) for keyword in keywords if keyword.arg is not None)


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> list[str]:
    if isinstance(node, ast.ClassDef):
        for made in node.body:
            if isinstance(made, ast.FunctionDef) and made.name == "__init__":
                return _parameters(made)
        return [made.target.id for made in node.body if isinstance(made, ast.AnnAssign) and isinstance(made.target, ast.Name)]
    return [argument.arg for argument in [*node.args.posonlyargs, *node.args.args] if argument.arg not in ("self", "cls")]


def count(root: Path) -> dict[tuple[str, str], Trip]:
    """The trips, by their subjects and their words.

    Raises:
        LookupError: Where a trip starts is no longer there.
    """
    known, counted = modules(root), {}
    for subject, words, starts in TRIPS:
        start, holder = next(((found, holder) for found, holder in (_start(known, start) for start in starts) if found), (None, ""))
        if start is None:
            raise LookupError(f"the trip through {subject} starts at {starts[0]}, which is not there")
        for word in words:
            trip = Trip(known, word)
            trip.follow(start, {holder or word})
            counted[subject, word] = trip
    return counted


def _start(known: dict[str, Module], start: str) -> tuple[Definition | None, str]:
    name, _, holder = start.rstrip(")").partition("(")
    module, _, function = name.rpartition(".")
    return known[module].definitions.get(function) if module in known else None, holder


if __name__ == "__main__":
    found = count(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
    for (subject, word), trip in found.items():
        print(f"{trip.entered_again:3} of {len(trip.folders):3} {subject}: {word}")
    again, read = sum(trip.entered_again for trip in found.values()), sum(len(trip.folders) for trip in found.values())
    print(f"{again:3} of {read:3} lead into a folder again")
