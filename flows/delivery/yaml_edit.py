"""YAML that programs and people write in turn: what is wanted replaces what was there, and people's comments stay.

Strings that some reader of YAML could take for something else (YAML 1.1 knows more words and numbers than YAML 1.2) are quoted.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarfloat import ScalarFloat
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from flows.errors import SpecInvalid

#: Strings that every version of YAML reads as strings, quoted or not, unless they are among the words below.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9._/@-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})

#: Text that a block of YAML gives back as it is: lines with neither tabs nor blanks at their ends, the first not indented.
_BLOCK = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\ufeff][^\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]*\n")


def rewritten(text: str | None, wanted: Mapping[str, Any], shown: str) -> str:
    """The file with what is wanted in it and nothing else; its comments, and the order of what it had, stay.

    Args:
        text: What the file holds now; none if there is no file.
        wanted: Mappings, sequences, strings, numbers, booleans and nothing.
        shown: The file's name, for errors.

    Raises:
        SpecInvalid: What it holds is not YAML.
    """
    parser = _parser()
    try:
        document = parser.load(text) if text else None
    except YAMLError as exc:
        raise SpecInvalid(f"{shown}: not valid YAML: {getattr(exc, 'problem', None) or 'unreadable'}; mend it in Git.") from exc
    if not isinstance(document, CommentedMap):
        document = CommentedMap()
    _assign(document, wanted)
    written = io.StringIO()
    parser.dump(document, written)
    result = written.getvalue()
    if parsed(result) != _plain(wanted):  # a fault of ours or of the library: nothing else may ever be committed
        raise SpecInvalid(f"{shown}: cannot be written as YAML that is read back the same; look at its comments and anchors in Git.")
    return result


def parsed(text: str) -> Any:
    """What the YAML says, as Helm reads it.

    Raises:
        SpecInvalid: It is not YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise SpecInvalid(f"not valid YAML: {getattr(exc, 'problem', None) or 'unreadable'}.") from exc


class _Representer(RoundTripRepresenter):
    """Numbers with an exponent get a point: without one, YAML 1.1 reads a string."""


def _float(representer: RoundTripRepresenter, value: float) -> ScalarNode:
    digits, sign, exponent = repr(float(value)).partition("e")
    text = f"{digits}{'' if '.' in digits or not sign else '.0'}{sign}{exponent}"
    node: ScalarNode = representer.represent_scalar("tag:yaml.org,2002:float", text)
    return node


for _kind in (float, ScalarFloat):
    _Representer.add_representer(_kind, _float)


def _parser() -> YAML:
    parser = YAML()  # round trip
    parser.Representer = _Representer
    parser.preserve_quotes = True
    # ruamel.yaml folds at 80 columns otherwise, and lines that nobody changed would be in the diff.
    parser.width = 1 << 16
    parser.indent(mapping=2, sequence=4, offset=2)
    return parser


def _assign(here: CommentedMap, wanted: Mapping[str, Any]) -> None:
    for key in [key for key in here if key not in wanted]:
        del here[key]
    for key, value in wanted.items():
        below = here.get(key)
        if isinstance(value, Mapping) and isinstance(below, CommentedMap):
            _assign(below, value)
        # By type as well: 1 == 1.0 == True in Python, and not in YAML. What is equal stays as people wrote it.
        elif key not in here or type(_plain(below)) is not type(_plain(value)) or _plain(below) != _plain(value):
            here[_string(key)] = _made(value)


def _made(value: Any) -> Any:
    if isinstance(value, Mapping):
        return CommentedMap((_string(key), _made(below)) for key, below in value.items())
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Sequence):
        return CommentedSeq(_made(below) for below in value)
    return value


def _string(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if _BLOCK.fullmatch(value) and not value.endswith("\n\n") and not re.search(r"[ \t]\n|\n[ \t]*\n[ \t]", value):
        block: str = LiteralScalarString(value)
        return block
    quoted: str = DoubleQuotedScalarString(value)
    return quoted


def _plain(value: Any) -> Any:
    """The value in Python's own types, so that it compares equal to what a parser gives."""
    if isinstance(value, Mapping):
        return {str(key): _plain(below) for key, below in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Sequence):
        return [_plain(below) for below in value]
    if isinstance(value, float):
        return float(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
