"""What a secret looks like in text: the one list by which messages, logs, evidence, Git and the engine's log are kept free of them.

Whatever is one of these is taken out of what is shown (`redacted`); what is certainly one may not be written to Git (`looks_secret`).
Every pattern is bounded, so that a text takes time in proportion to its length, whatever stands in it.
"""

from __future__ import annotations

import re

#: What stands for a secret in text.
STARS = "***"

#: No pattern below reads further than this, in characters.
LONGEST_SECRET = 20_200

#: Names of variables, keys, fields and arguments whose value is a secret, behind whatever prefix: HF_TOKEN, x-api-key, clientSecret.
_NAME = (
    r"token|passwords?|passwd|passphrase|pwd|pgpassword|secret(?:[-_]?(?:access[-_]?)?key(?:[-_]?base)?)?|auth[-_]?string|authorization"
    r"|credentials?|signature|(?:api|access|private|secret|signing|encryption|account)[-_]?keys?|client[-_]key[-_]data"
    r"|(?<=[\"'])_?auth(?=\\?[\"'])|(?<=[?&])sig|(?-i:(?<=[A-Z]_)(?:PASS|PAT))"
)
#: A name begins where a word does, also one of camelCase.
_BEGINS = r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
#: What may stand around a name, also where texts are in texts.
_QUOTE = r"(?:\\{0,7}[\"'])?"
#: A token also begins behind what stands for a sign: a line end as JSON writes it, an escape of an address, a terminal's colour.
_STARTS = r"(?:\b|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2})|(?<=\[\dm)|(?<=\[\d\dm))"
#: A value in quotes, a list of them, a block of YAML, or up to the next white space that is not escaped; not one that was taken out before.
_VALUE = (
    r"(?!\*\*\*)(?:\[[^\]\n]{1,500}\]|b?\"(?:[^\"\\\n]|\\.){1,2000}\"|b?'(?:[^'\\\n]|\\.){1,2000}'"
    r"|[|>][+-]?[ \t]{0,3}(?:\n[ \t]{1,40}+\S[^\n]{0,500}){1,100}"
    r"|(?:(?i:bearer|basic|token|api-?key|negotiate|ntlm)\s{1,3}+|[|>][+-]?(?:\\n|\s){1,40})?(?!\{[\s\"'}])(?:\\ |\S){1,4000})"
)
#: What a sentence about a field begins with: `token_secret: must be a DNS label` says no secret.
_NO_SENTENCE = r"(?!(?:must|is|are|was|has|have|holds|looks|names|needs|cannot|may|not|set|the|a|an|one|it)\s)"
#: A digit or a capital among lower case: what words do not have, and tokens do.
_NO_WORD = r"(?=[A-Za-z_-]{0,60}[0-9]|[a-z0-9_-]{0,60}[A-Z])"

#: What nothing else looks like, by what people call it; from the issuers' documentation as of 2026. A group `keep` stays in what is shown.
_CERTAIN = {
    "a private key": (
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----END)[\s\S]){0,20000}(?:-----END[A-Z0-9 ]{0,60}-----)?"
    ),
    # Words of ours that stand for them are none. A password may hold every sign but white space, so the last @ ends it. A number before a
    # slash is a port.
    "a password in an address": (
        r"(?P<keep>:(?:\\?/){2})(?!(?i:user:password)@)[^\s:/\"'<>]{0,256}+:(?!\d{1,5}(?:[/?#]|$))"
        r"(?:[^\s\"'<>@]{0,512}+@){0,8}[^\s\"'<>@]{0,512}+(?=@(?!sha256:))"
    ),
    # No group here is possessive: Python before 3.11.5 loses matches of one that has to go back within itself (python/cpython#106052).
    "a password in an escaped address": r"(?P<keep>%3A%2F%2F[^\s%]{0,256}+%3A)(?:(?!%40)[^\s\"'<>&]){1,512}(?=%40)",
    # vLLM takes it as an argument, so it would stand in the pod's spec, whatever its shape.
    "a key of vLLM's server": rf"(?P<keep>--api-key\b[\"']?(?:\s{{0,3}}+[=:,]\s{{0,3}}+|\s{{1,3}}+|$)){_VALUE}?",
    "a Hugging Face token": _STARTS + r"hf_(?:[A-Za-z0-9]{16,200}|(?=[a-z]{0,60}[0-9A-Z])[A-Za-z0-9]{6,200})",
    "a GitHub token": _STARTS + r"(?:gh[pousr]_[A-Za-z0-9]{6,300}|github_pat_[A-Za-z0-9_]{6,300})",
    "a GitLab token": _STARTS + r"gl(?:pat|dt|rt|rtr|ptt|cbt|agent|soat|ft|imt|oas|ffct)-[A-Za-z0-9_.=-]{6,300}",
    "an AWS access key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "a Slack token": r"\b(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{6,300}|(?P<keep>\bhooks\.slack\.com/[a-z]{1,20}/)[A-Za-z0-9/_-]{6,300}",
    "an API key": (
        _STARTS + r"sk-(?:(?:proj|ant|or|live|test|svcacct|admin)-[A-Za-z0-9_-]{6,300}|"
        rf"{_NO_WORD}[A-Za-z0-9_-]{{6,300}}|[A-Za-z0-9_-]{{20,300}})"
    ),
    "a token of npm, PyPI, Vault, Grafana or Prefect": (
        r"\b(?:npm_[A-Za-z0-9]{30,60}|pypi-AgEI[A-Za-z0-9_-]{20,400}|hv[sbr]\.[A-Za-z0-9_-]{20,300}|glsa_[A-Za-z0-9_]{20,80}"
        r"|pn[ub]_[A-Za-z0-9]{20,80})"
    ),
    "a token of Slipway's console": _STARTS + r"slipway_[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])",
    "a JSON Web Token": r"\beyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{4,8000}(?:\.[A-Za-z0-9_-]{0,8000})?",
}

#: What is one more often than not: enough to be taken out of what is shown, and not to refuse a value.
_LIKELY = {
    "a user in an address": r"(?P<keep>\bhttps?://)[^\s:/@\"'<>]{1,512}+(?=@)",
    "a user and password of curl": r"(?P<keep>(?<!\S)(?:-u|--user)[ =]{1,3}+[^\s:]{0,100}+:)(?!\*\*\*|\d{1,9}(?!\S))\S{1,4000}",
    "a password in .netrc": r"(?P<keep>\blogin\s{1,4}+\S{1,200}+\s{1,4}+password\s{1,4}+)(?!\*\*\*)\S{1,4000}",
    "a header in a list of them": rf"(?P<keep>\(b?[\"'][A-Za-z_-]{{0,40}}(?i:{_NAME})[\"'],\s{{0,3}}+)(?=b?[\"']){_VALUE}",
    # As Kubernetes, Helm and their errors write a variable of the environment.
    "a secret variable": (
        rf"(?P<keep>\bname{_QUOTE}\s?[=:]\s{{0,3}}+{_QUOTE}[A-Za-z0-9_-]{{0,60}}(?i:{_NAME}){_QUOTE}(?:[,\s]|\\[nrt]){{1,40}}{_QUOTE}value{_QUOTE}"
        rf"\s?[=:]\s{{0,3}}+){_VALUE}"
    ),
    "a short Hugging Face token": r"\bhf_[a-z]{10,15}\b",
    "a secret argument": (
        r"(?P<keep>(?<!-)--(?:[a-z0-9]{1,20}-){0,4}(?:token|password|secret|api-key|access-key)[\"']?,?\s{1,3}+)(?!-)" + _VALUE
    ),
    "a bearer token": _STARTS + r"(?P<keep>(?i:bearer)(?:\s{1,3}+|%20))(?!\*\*\*)[^\s\"']{6,8000}",
    "a user and password": r"(?P<keep>(?i:\bbasic)\s{1,3}+)(?=[a-z/+]{0,100}[A-Z0-9=])[A-Za-z0-9+/]{6,4000}={0,2}",
    "a cookie": r"(?P<keep>(?i:\b(?:set-)?cookie)[\"']?\s{0,3}+[=:]\s{0,3}+)(?!\*\*\*)[^\r\n]{1,4000}",
    "a secret by its name": (
        rf"(?P<keep>{_BEGINS}(?i:{_NAME}){_QUOTE}"
        rf"(?:\s{{0,3}}+(?::?=[=>]?+|%3D)\s{{0,3}}+|:[ \t]{{0,3}}+{_NO_SENTENCE}|\s:\s)){_VALUE}"
    ),
}

_REFUSED = {name: re.compile(shape) for name, shape in _CERTAIN.items()}
#: In this order: what is longer than a token, and may hold one, comes before it.
_TAKEN_OUT = [*_REFUSED.values(), *map(re.compile, _LIKELY.values())]


def redacted(text: str) -> str:
    """The text with everything that looks like a secret taken out; doing it again changes nothing."""
    for shape in _TAKEN_OUT:
        text = shape.sub(_without, text)
    return text


def looks_secret(text: str) -> str | None:
    """What the first thing in the text that certainly is a secret is; none if nothing is. It is never quoted."""
    return next((name for name, shape in _REFUSED.items() if shape.search(text)), None)


def _without(found: re.Match[str]) -> str:
    return f"{found.groupdict().get('keep') or ''}{STARS}"
