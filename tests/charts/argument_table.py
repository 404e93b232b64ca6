"""The arguments that the chart takes, written from the classes of `flows/spec/engine_arguments`: a chart has no Python to read these."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from flows.spec.engine_arguments import admission
from flows.spec.engine_arguments.table import table

FILE = "arguments.json"

_ITS_OWN = "the chart sets this argument itself, from the value made for it"


def arguments() -> str:
    """The file: every option string that may be there, and why each of the others must not."""
    said = tomllib.loads((Path(admission.__file__).parent / "classes.toml").read_text(encoding="utf-8"))
    why = dict.fromkeys(said["set"], _ITS_OWN)
    for group in said["forbidden"]:
        why |= dict.fromkeys(group["arguments"], group["because"])
    known = table()
    allowed = sorted(name for option in known.options if option.name not in why for name in option.names)
    refused = {name: why[option.name] for option in known.options if option.name in why for name in option.names}
    return json.dumps({"vllm": known.version, "allowed": allowed, "refused": dict(sorted(refused.items()))}, indent=1) + "\n"
