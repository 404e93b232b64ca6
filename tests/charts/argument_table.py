"""The arguments that the chart takes, written from the classes of `flows/spec/engine_arguments`: a chart has no Python to read these."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from flows.spec.engine_arguments import admission
from flows.spec.engine_arguments.table import table

FILE = "arguments.json"


def arguments() -> str:
    """The file: the option strings that the chart gives itself, and those that may be given; all others may not."""
    said = tomllib.loads((Path(admission.__file__).parent / "classes.toml").read_text(encoding="utf-8"))
    options = table().options
    own = sorted(name for option in options if option.name in said["set"] for name in option.names)
    allowed = sorted(name for option in options if option.name in said["allowed"]["arguments"] for name in option.names)
    return json.dumps({"vllm": table().version, "own": own, "allowed": allowed}, indent=1) + "\n"
