"""Reads `deployments/`: the only module of the specs that touches files. Every error names the file, the line and the field."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from flows.errors import SpecInvalid
from flows.spec.access import Access
from flows.spec.approval import Approvers, plain_name
from flows.spec.canary import canary_problems
from flows.spec.checks import CheckSuite, JsonCheck, ToolCallCheck
from flows.spec.differences import too_wide
from flows.spec.engine_arguments import admit, admit_variables
from flows.spec.environment import Environment
from flows.spec.environment_values import problems
from flows.spec.folder import ENVIRONMENT_VARIABLE, ROOT, deployments_folder
from flows.spec.model import Model
from flows.spec.shared import Shared
from flows.spec.source import Place, Source, read
from flows.spec.window import beyond_window

Named = TypeVar("Named", Model, Environment, CheckSuite)

__all__ = ["ENVIRONMENT_VARIABLE", "ROOT", "Deployments"]

#: What the chart takes of a chat template; more would not fit a ConfigMap beside the rest.
_LONGEST_TEMPLATE = 262_144


@dataclass(frozen=True, kw_only=True)
class Deployments:
    """The folder that says what runs where: `models/`, `environments/`, `checks/`."""

    root: Path

    @classmethod
    def default(cls) -> Deployments:
        """The folder that `SLIPWAY_DEPLOYMENTS` names, or the checkout's own."""
        return cls(root=deployments_folder())

    def model(self, name: str) -> Model:
        """The model of that name.

        Raises:
            SpecInvalid: There is none, or its file is wrong.
        """
        model, source = self._loaded(Model, "models", name)
        try:
            admit(model.engine.extra_args)
        except SpecInvalid as exc:
            raise source.invalid(("engine", "extra_args"), exc.message) from exc
        try:
            admit_variables(model.engine.variables)
        except SpecInvalid as exc:
            raise source.invalid(("engine", "variables"), exc.message) from exc
        guessing = model.engine.speculative
        if guessing is not None and guessing.lookup_min > guessing.lookup_max:
            problem = f"is {guessing.lookup_min}, but lookup_max is {guessing.lookup_max}: the least must not be more than the most."
            raise source.invalid(("engine", "speculative", "lookup_min"), problem)
        template = model.engine.chat_template
        # Anything else is the template itself.
        if not template.endswith(".jinja"):
            return model
        path = self.root / "models" / template
        place: Place = ("engine", "chat_template")
        try:
            inside = self._holds("models", path)
            text = path.read_text(encoding="utf-8") if inside else ""
        except (OSError, ValueError, RuntimeError) as exc:  # nothing of that name, no text, no name, or links that lead to each other
            named = template if template.isprintable() else ascii(template)
            raise source.invalid(place, f"{self._relative(self.root / 'models')}/{named[:200]} cannot be read.") from exc
        if not inside:
            raise source.invalid(place, "must be the name of a file beside the model's, and not lead out of the folder.")
        if len(text) > _LONGEST_TEMPLATE:
            raise source.invalid(place, f"{self._relative(path)} holds more than {_LONGEST_TEMPLATE:,} characters.")
        # The text and not its path is part of the candidate: an edited template makes another one.
        return replace(model, engine=replace(model.engine, chat_template=text))

    def environment(self, name: str) -> Environment:
        """The environment of that name.

        Raises:
            SpecInvalid: There is none, or its file is wrong.
        """
        environment, source = self._loaded(Environment, "environments", name)
        for place, problem in problems(environment.values, environment.prefetch.store):
            raise source.invalid(("values", *place), problem)
        rollout = environment.rollout
        for place, problem in canary_problems(rollout.strategy, rollout.steps, rollout.shadow, rollout.keep_minutes):
            raise source.invalid(("rollout", *place), problem)
        for place, problem in too_wide(environment.ignore_differences):
            raise source.invalid(place, problem)
        for index, toleration in enumerate(environment.tolerations):
            if not toleration.key:
                raise source.invalid(("tolerations", index, "key"), "must name a taint: without one, pods go to every node.")
        if not environment.node_selector:
            raise source.invalid(("node_selector",), "must name a label of the nodes that may run the engine.")
        if environment.namespace == "default" or environment.namespace.startswith("kube-"):
            raise source.invalid(("namespace",), "is the cluster's own: name one that is for models alone.")
        return environment

    def suite(self, name: str) -> CheckSuite:
        """The check suite of that name.

        Raises:
            SpecInvalid: There is none, or its file is wrong.
        """
        return self._suite(name)[0]

    def suite_of(self, model: Model) -> CheckSuite:
        """The check suite of a model.

        Raises:
            SpecInvalid: There is none, its file is wrong, or what it asks for is longer than the model's context window.
        """
        suite, source = self._suite(model.checks)
        for place, problem in beyond_window(suite, model.engine.max_model_len):
            raise source.invalid(place, problem)
        return suite

    def _suite(self, name: str) -> tuple[CheckSuite, Source]:
        suite, source = self._loaded(CheckSuite, "checks", name)
        for part in ("checks", "golden"):
            seen: set[str] = set()
            for index, check in enumerate(getattr(suite, part)):
                here: Place = (part, index)
                if check.name in seen:
                    raise source.invalid((*here, "name"), f"{check.name!r} is there twice; give each check a name of its own.")
                seen.add(check.name)
                _check_regex(source, (*here, "expect", "regex"), check.expect.regex)
                _check_schema(source, (*here, "expect", "json_schema"), check.expect.json_schema)
                if isinstance(check, JsonCheck):
                    _check_schema(source, (*here, "schema"), check.schema)
                if isinstance(check, ToolCallCheck):
                    _check_schema(source, (*here, "tool", "parameters"), check.tool.parameters)
        return suite, source

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
        return read(path, self._relative(path)).validated(Shared) if path.is_file() else Shared()

    def approvers(self) -> Approvers:
        """Everybody who may approve; nobody where `approvers.yaml` is not there.

        Raises:
            SpecInvalid: The file is wrong, or two approvers share a name.
        """
        path = self.root / "approvers.yaml"
        if not path.is_file():
            return Approvers()
        source = read(path, self._relative(path))
        known = source.validated(Approvers)
        seen: dict[str, str] = {}
        for index, approver in enumerate(known.approvers):
            for name in {plain_name(own) for own in (approver.name, *approver.aliases)}:
                if name in seen:
                    raise source.invalid(
                        ("approvers", index),
                        f"{name!r} is also a name of {seen[name]!r}; one person is one approver, so that nobody can agree twice.",
                    )
                seen[name] = approver.name
        return known

    def access(self) -> Access:
        """Who may see and do what in the console; nobody anything where `access.yaml` is not there.

        Raises:
            SpecInvalid: The file is wrong, or a grant is for nobody.
        """
        path = self.root / "access.yaml"
        if not path.is_file():
            return Access()
        source = read(path, self._relative(path))
        known = source.validated(Access)
        for index, grant in enumerate(known.grants):
            if not grant.people and not grant.groups:
                raise source.invalid(("grants", index), "is for nobody: name people or groups.")
        return known

    def names(self, kind: str) -> list[str]:
        """Names of the files of a kind (`models`, `environments`, `checks`), sorted."""
        return sorted(path.stem for path in (self.root / kind).glob("*.yaml"))

    def _loaded(self, of: type[Named], kind: str, name: str) -> tuple[Named, Source]:
        # Names come from forms and command lines, and must not lead out of the folder.
        shown = self._shown(kind, name) if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) else ""
        if not shown or not (self.root / kind / f"{name}.yaml").is_file():
            where = f": {shown} does not exist" if shown else ""
            known = ", ".join(self.names(kind)) or "none yet"
            raise SpecInvalid(f"There is no {kind[:-1]} {name!r}{where}. Known {kind}: {known}.")
        path = self.root / kind / f"{name}.yaml"
        if not self._holds(kind, path):
            raise SpecInvalid(f"{shown}: is a link that leads out of the folder: what is read here is kept, and shown.")
        source = read(path, shown)
        spec = source.validated(of)
        if spec.name != name:
            raise source.invalid(("name",), f"is {spec.name!r}, but the file is called {name}.yaml; they must be the same.")
        return spec, source

    def _holds(self, kind: str, path: Path) -> bool:
        """Whether the file lies in the folder of its kind when all links are followed: a mounted ConfigMap is made of links that do."""
        return path.resolve().is_relative_to((self.root / kind).resolve())

    def _shown(self, kind: str, name: str) -> str:
        return self._relative(self.root / kind / f"{name}.yaml")

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self.root.parent))


def _check_regex(source: Source, place: Place, regex: str | None) -> None:
    if regex is not None:
        try:
            re.compile(regex)
        except (re.error, OverflowError, RecursionError) as exc:
            raise source.invalid(place, f"not a regular expression: {exc}.") from exc


def _check_schema(source: Source, place: Place, schema: Mapping[str, Any] | None) -> None:
    if schema is None:
        return
    import jsonschema  # half as long as all of the specs to import, and only suites need it

    try:
        # YAML has dates, NaN and aliases that lead back; JSON has none of them.
        text = json.dumps(schema, allow_nan=False)
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as exc:
        inside = tuple(part for part in exc.absolute_path if isinstance(part, (str, int)))
        raise source.invalid((*place, *inside), f"not a JSON Schema (Draft 2020-12): {exc.message}.") from exc
    except (TypeError, ValueError, RecursionError) as exc:
        raise source.invalid(place, f"is not JSON: {exc}.") from exc
    if re.search(r'"\$(dynamicRef|ref)": "(?!#)', text):
        raise source.invalid(place, "refers to another document; a suite's schemas stand for themselves ($ref must begin with #).")
