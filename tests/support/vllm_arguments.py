"""Prints what `vllm serve` knows as arguments, a JSON object a line; where vLLM is installed: `python -m tests.support.vllm_arguments`."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterator
from typing import Any


def rows() -> Iterator[dict[str, Any]]:
    """The version, then option strings, number of values and choices of each action of the parser."""
    yield {
        "vllm": importlib.import_module("vllm").__version__,
        "source": "the parser of `vllm serve` of that version: option strings, number of values, choices of each of its actions",
    }
    flexible = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser
    make = importlib.import_module("vllm.entrypoints.launchers.cli_args").make_arg_parser
    parser: argparse.ArgumentParser = make(flexible())
    for action in parser._actions:  # argparse tells them in no other way
        if action.option_strings:
            choices = {"choices": [str(choice) for choice in action.choices]} if action.choices else {}
            yield {"options": list(action.option_strings), "nargs": 1 if action.nargs is None else action.nargs, **choices}


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
