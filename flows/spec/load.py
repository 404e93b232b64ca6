"""Reads `deployments/`: the only module of the specs that touches files. Every error names the file and the field."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from flows.errors import SpecInvalid
from flows.spec.approval import Approvers, plain_name
from flows.spec.checks import CheckSuite
from flows.spec.environment import Environment
from flows.spec.model import Model
from flows.spec.shared import Shared

T = TypeVar("T")
Named = TypeVar("Named", Model, Environment, CheckSuite)

#: The checkout's root: the folder that holds `deployments/` and `charts/`.
ROOT = Path(__file__).resolve().parents[2]

#: Names another folder than the checkout's `deployments/`.
ENVIRONMENT_VARIABLE = "SLIPWAY_DEPLOYMENTS"


@dataclass(frozen=True, kw_only=True)
class Deployments:
    """The folder that says what runs where: `models/`, `environments/`, `checks/`."""

    root: Path

    @classmethod
    def default(cls) -> Deployments:
        """The folder that `SLIPWAY_DEPLOYMENTS` names, or the checkout's own."""
        return cls(root=Path(os.environ.get(ENVIRONMENT_VARIABLE) or ROOT / "deployments"))

    def model(self, name: str) -> Model:
        """The model of that name.

        Raises:
            SpecInvalid: There is none, or its file is wrong.
        """
        model = self._load(Model, "models", name)
        if any(re.match(r"--?trust", argument) for argument in model.engine.extra_args):
            raise SpecInvalid(
                f"{self._shown('models', name)}: engine.extra_args: must not hold --trust-remote-code: set allow_remote_code instead."
            )
        template = model.engine.chat_template
        if not template.endswith(".jinja"):
            return model
        path = self.root / "models" / template
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise SpecInvalid(f"{self._shown('models', name)}: engine.chat_template: {self._relative(path)} cannot be read.") from exc
        return replace(model, engine=replace(model.engine, chat_template=text))

    def environment(self, name: str) -> Environment:
        """The environment of that name.

        Raises:
            SpecInvalid: There is none, or its file is wrong.
        """
        return self._load(Environment, "environments", name)

    def suite(self, name: str) -> CheckSuite:
        """The check suite of that name.

        Raises:
            SpecInvalid: There is none, or its file is wrong.
        """
        suite = self._load(CheckSuite, "checks", name)
        seen: set[str] = set()
        for index, check in enumerate(suite.checks):
            where = f"{self._shown('checks', name)}: checks[{index}]"
            if check.name in seen:
                raise SpecInvalid(f"{where}.name: {check.name!r} is there twice; give each check a name of its own.")
            seen.add(check.name)
            if check.expect.regex is not None:
                try:
                    re.compile(check.expect.regex)
                except re.error as exc:
                    raise SpecInvalid(f"{where}.expect.regex: not a regular expression: {exc}.") from exc
        return suite

    def environments(self) -> tuple[Environment, ...]:
        """All environments in the order of promotion (`after`).

        Raises:
            SpecInvalid: A file is wrong, or the order cannot be read from `after`.
        """
        left = {name: self.environment(name) for name in self.names("environments")}
        ordered: list[Environment] = []
        while left:
            done = {environment.name for environment in ordered}
            ready = [e for e in left.values() if e.after is None or e.after in done]
            if not ready:
                stuck = min(left.values(), key=lambda e: e.name)
                reason = "is not an environment" if stuck.after not in left else "leads back to it"
                raise SpecInvalid(f"{self._shown('environments', stuck.name)}: after: {stuck.after!r} {reason}.")
            for environment in ready:
                ordered.append(left.pop(environment.name))
        return tuple(ordered)

    def shared(self) -> Shared:
        """What all environments share; the defaults where `shared.yaml` is not there.

        Raises:
            SpecInvalid: The file is wrong.
        """
        path = self.root / "shared.yaml"
        return _validated(Shared, self._yaml(path, self._relative(path)), self._relative(path)) if path.is_file() else Shared()

    def approvers(self) -> Approvers:
        """Everybody who may approve; nobody where `approvers.yaml` is not there.

        Raises:
            SpecInvalid: The file is wrong, or two approvers share a name.
        """
        path = self.root / "approvers.yaml"
        if not path.is_file():
            return Approvers()
        shown = self._relative(path)
        known = _validated(Approvers, self._yaml(path, shown), shown)
        seen: dict[str, str] = {}
        for index, approver in enumerate(known.approvers):
            for name in {plain_name(own) for own in (approver.name, *approver.aliases)}:
                if name in seen:
                    raise SpecInvalid(
                        f"{shown}: approvers[{index}]: {name!r} is also a name of {seen[name]!r}; one person is one approver, "
                        "so that nobody can agree twice."
                    )
                seen[name] = approver.name
        return known

    def names(self, kind: str) -> list[str]:
        """Names of the files of a kind (`models`, `environments`, `checks`), sorted."""
        return sorted(path.stem for path in (self.root / kind).glob("*.yaml"))

    def _load(self, of: type[Named], kind: str, name: str) -> Named:
        shown = self._shown(kind, name) if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) else ""
        if not shown or not (self.root / kind / f"{name}.yaml").is_file():
            where = f": {shown} does not exist" if shown else ""
            known = ", ".join(self.names(kind)) or "none yet"
            raise SpecInvalid(f"There is no {kind[:-1]} {name!r}{where}. Known {kind}: {known}.")
        spec = _validated(of, self._yaml(self.root / kind / f"{name}.yaml", shown), shown)
        if spec.name != name:
            raise SpecInvalid(f"{shown}: name: is {spec.name!r}, but the file is called {name}.yaml; they must be the same.")
        return spec

    def _yaml(self, path: Path, shown: str) -> Any:
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as exc:
            raise SpecInvalid(f"{shown}: is not UTF-8 text.") from exc
        except yaml.YAMLError as exc:
            mark = getattr(exc, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            problem = getattr(exc, "problem", None) or "not YAML"
            raise SpecInvalid(f"{shown}{where}: not valid YAML: {problem}.") from exc
        if not isinstance(data, dict):
            raise SpecInvalid(f"{shown}: must be a mapping of keys to values.")
        return data

    def _shown(self, kind: str, name: str) -> str:
        return self._relative(self.root / kind / f"{name}.yaml")

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self.root.parent))


def _validated(of: type[T], data: Any, shown: str) -> T:
    try:
        return TypeAdapter(of).validate_python(data)
    except ValidationError as exc:
        raise SpecInvalid(f"{shown}: {explain(exc)}") from exc


def explain(error: ValidationError) -> str:
    """The first thing that is wrong, as `field: what is expected`."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    kind, given = first["type"], first.get("input")
    if kind in ("missing", "missing_keyword_only_argument"):
        return f"{field}: is missing."
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{field}: is not a known key."
    shown = f" (given: {given!r})" if isinstance(given, (str, int, float, bool)) and len(str(given)) < 120 else ""
    return f"{field}: {_PATTERNS.get(str(error.errors()[0].get('ctx', {}).get('pattern')), first['msg'])}{shown}."


_PATTERNS = {
    r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$": "must be a DNS label: lower-case letters, digits and hyphens, 63 at most",
    r"^[a-z][a-z0-9]{0,19}$": "must be lower-case letters and digits, 20 at most, and begin with a letter",
    r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,94}[A-Za-z0-9])?$": "must be letters, digits, '.', '_' and '-', 96 at most, ending in neither sign",
    r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}$": "must be a hub repository as organisation/name",
    r"^[a-z0-9][a-z0-9._/:-]*@sha256:[0-9a-f]{64}$": "must name the image by digest (repository@sha256:…), not by tag",
    r"^/[A-Za-z0-9._/-]+$": "must be an absolute path",
    r"^[a-z0-9][a-z0-9 ._+-]{0,79}$": "must be a licence as the hub names it, in lower case",
}
