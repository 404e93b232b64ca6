"""What strangers write is shown as text, and as nothing else: Markdown, HTML, terminals, logs, Git, chats, labels."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import unicodedata
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import jinja2
import yaml
from markdown_it import MarkdownIt
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from rich.markdown import Markdown as RichMarkdown
from rich.table import Table

from blocks.errors import RolloutStalled
from blocks.facts.registry import Failure
from blocks.gitops import CommitMessage
from blocks.wording import visible
from flows.approval.form import approval_page, so_far
from flows.approval.rules import ApprovalEvidence, tally
from flows.candidate.changes import changes
from flows.cli.console import PlainConsole
from flows.cli.status import status_lines
from flows.delivery.drift import Drift, drift_page
from flows.errors import Refusal
from flows.naming import release_name
from flows.placement.assess import assess
from flows.placement.page import environment_row, model_row, preview_page
from flows.promotion.page import release_page
from flows.recovery.ask import recovery_page
from flows.rollout.diagnosis import Diagnosis, diagnosis_page
from flows.runtime.json_logs import JsonLines
from flows.runtime.notices import quoted
from flows.spec import ApprovalPolicy, Candidate, SnapshotFile
from flows.spec.load import ROOT
from flows.text.markdown import Markdown
from flows.verification.evidence import EvidenceRef, VerifiedEvidence
from flows.verification.measurement import Measurement
from flows.verification.page import evidence_page
from flows.verification.summary import measurement_rows
from flows.weights.progress import progress
from tests.attack.case import attacks
from tests.support import examples
from tests.support.examples import BEGIN, about, candidate, cluster_state, digest, environment, event, evidence, model, verdict

#: As Prefect's UI reads Markdown, but for bare addresses: `links` looks for those.
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])

#: What would end a cell, a line, a block or a quotation, hide what follows, or be more than text.
FORGED = (
    "Llama |\n| licence | apache-2.0 |\n| verdict | passed |",
    "Llama <!-- hidden",
    "-->\n\n## Approved\n",
    "[approve](https://evil.example/approve)",
    "![](https://evil.example/pixel)",
    "https://evil.example/approve",
    "_www.evil.example",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "</td></tr></table><h1>passed</h1>",
    "`code` ``` ~~~",
    "**bold** __bold__ ~~gone~~",
    "\\",
    "&lt;b&gt;",
    "a\u202eb\u2066c\u200bd\u3164e\u2800f\U000e0101",
    "e" + "\u0301" * 200,
    "\x1b[31mred\x1b]0;title\x07\x9b2J\x00",
)

#: Sequences that move a cursor, set a title or a link, clear a screen, answer back, hide or turn text.
COMMANDS = (
    *("\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;https://evil.example\x1b\\link"),
    *("\x9b31m", "\x1bP$q\x1b\\", "\r", "\x08", "\u202e", "\x00"),
)


def seen(page: Markdown) -> list[str]:
    """The inline texts of a page; asserts that it consists of nothing but what our templates make."""
    ours = {"heading", "paragraph", "table", "thead", "tbody", "tr", "th", "td", "bullet_list", "list_item", "blockquote"}
    told = []
    for token in PARSER.parse(str(page)):
        kind = re.sub(r"_(open|close)$", "", token.type)
        assert kind in ours | {"inline", "code_block"}, f"{token.type}: {token.content!r}"
        for child in token.children or []:
            of_a_line = {"text", "text_special", "code_inline", "softbreak", "strong_open", "strong_close", "em_open", "em_close"}
            assert child.type in of_a_line, f"{child.type}: {token.content!r}"
        if token.type == "inline":
            told.append("".join(child.content for child in token.children or []))
    assert not re.search(r"(?<!\\)://|(?i:www)\.", re.sub(r"`[^`]*`|^    .*$", "", str(page), flags=re.MULTILINE)), "a link"
    assert not any(unicodedata.category(sign) in ("Cc", "Cf") for sign in str(page).replace("\n", "")), "a hidden sign"
    return told


def hostile(text: str) -> Candidate:
    """A candidate whose repository says this wherever it may."""
    said = about(quantisation=text)
    said = replace(said, config=replace(said.config, architecture=text))
    files = (SnapshotFile(path=text, size_bytes=1, digest="a" * 64, algorithm="sha256"),)
    return candidate(about=replace(said, licences=(text, text), formats=(text,), stored={text: 1}), files=files)


def proofs(text: str) -> dict[str, VerifiedEvidence]:
    wrong = Measurement(name=text, kind=text, outcome="failed", expected=text, seen=text)
    return {
        "staging": VerifiedEvidence(
            verdict=verdict(wrong, engine_version=text), ref=EvidenceRef(sha256=digest("e"), page_sha256=digest("p"))
        )
    }


def form_of(text: str, requester: str = "zoe") -> Markdown:
    made = hostile(text)
    decided = ApprovalEvidence(sha256=digest("evidence"), current=digest("before"), changes=changes(candidate(), made))
    return approval_page(made, environment(name="production"), decided, proofs(text), requester, BEGIN)


@attacks("nothing that a repository says ends its cell of the approval form, hides what follows, or adds to it")
def repository_on_the_form() -> None:
    plain = seen(form_of("x"))
    for text in FORGED:
        told = seen(form_of(text))
        assert len(told) == len(plain), f"{text!r} made {len(told)} texts of {len(plain)}"
        for row in ("zoe", digest("evidence")[:16], "asked for by", "candidate"):
            assert row in told, f"{text!r} hid {row}"


@attacks("who asks for a release forges nothing on the form")
def requester_on_the_form() -> None:
    plain = seen(form_of("x", "zoe"))
    for text in FORGED:
        told = seen(form_of("x", text))
        assert len(told) == len(plain), text
        assert told[told.index("asked for by") + 1] == visible(" ".join(text.split())), text


@attacks("a first approver's reason and a refused one's claimed name stay in their quotation")
def answers_on_the_form() -> None:
    where = environment(approval=ApprovalPolicy(required=True, approvals=2))
    for text in FORGED:
        approved = event("approved", actor="ada", detail={"reason": text, "round": 1})
        refused = event(
            "approval_refused", occurred_at=BEGIN + timedelta(minutes=1), detail={"why": f"{text!r} is no approver", "round": 2}
        )
        answers, later = [approved, refused], BEGIN + timedelta(minutes=2)
        page = form_of("x") + so_far(answers, tally(answers, where.approval, later), where, later)
        assert sum(told.startswith(("ada approved", "The last answer", "1 of 2")) for told in seen(page)) == 3, text


@attacks("a file's name in what changes ends no row, and thousands of changes make no endless form")
def changed_files() -> None:
    many = tuple(SnapshotFile(path=f"f{number}", size_bytes=1, digest="a" * 64, algorithm="sha256") for number in range(3_000))
    made = candidate(files=many)
    decided = ApprovalEvidence(sha256=digest("evidence"), current=digest("before"), changes=changes(candidate(), made))
    page = approval_page(made, environment(), decided, {}, "zoe", BEGIN)
    assert len(str(page)) < 50_000, len(str(page))
    assert any("more" in told for told in seen(page))


@attacks("the pages of a plan, a release, a diagnosis, a failure and drift hold what strangers say as text")
def other_pages() -> None:
    for text in FORGED:
        made = hostile(text)
        assessment = assess(model(), made, environment(), cluster_state(), digest("chart"))
        for page in (
            preview_page(made, [Refusal(text)], [assessment]),
            release_page(made, proofs(text)),
            drift_page({text: [Drift(kind="git", message=text, difference=(text,))]}),
            diagnosis_page(Diagnosis(category="no-gpu", message=text, remedy="Look.", evidence=(text,), patience_seconds=None), text),
        ):
            seen(page)


@attacks("cells of Prefect's tables, which its UI renders as Markdown, are text")
def tables() -> None:
    for text in FORGED:
        made = hostile(text)
        rows = [*measurement_rows(proofs(text)), model_row(made, [Refusal(text)])]
        rows.append(environment_row(assess(model(), made, environment(), cluster_state(), digest("chart"))))
        for cell in [cell for row in rows for cell in row.values()]:
            assert not isinstance(cell, str), cell
            if isinstance(cell, Markdown):
                seen(cell)


@attacks("a page ends, however long an engine's version, a licence or an answer is")
def lengths() -> None:
    long = "x" * 1_000_000
    assert len(str(form_of(long))) < 100_000
    answered = Measurement(name=long, kind=long, outcome="failed", expected=long, seen=long)
    page = evidence_page(evidence(verdict(answered, engine_version=long)), digest("evidence"))
    assert len(page) < 500_000, len(page)
    assert len(RolloutStalled(long, evidence=[long]).message) < 10_000


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.bad += [f"{tag} {name}" for name, _ in attrs if name.startswith("on") or name in ("src", "href", "action", "style")]


@attacks("what a model answers, and what it says of itself, is text on the evidence page, not markup")
def evidence_markup() -> None:
    def tags(text: str) -> _Tags:
        wrong = Measurement(name=text, kind=text, outcome="failed", expected=text, seen=text)
        found = _Tags()
        found.feed(evidence_page(evidence(verdict(wrong, text=text, engine_version=text)), digest("evidence")))
        return found

    plain = tags("x")
    for text in FORGED:
        found = tags(text)
        assert set(found.tags) == set(plain.tags), f"{text!r}: {set(found.tags) - set(plain.tags)}"
        assert not found.bad, f"{text!r}: {found.bad}"


def printed(*things: object) -> str:
    """What a terminal gets of it."""
    written = io.StringIO()
    console = PlainConsole(file=written, force_terminal=True, width=200, color_system=None)
    for thing in things:
        console.print(thing)
    return written.getvalue()


def commanded(text: str) -> bool:
    return any(unicodedata.category(sign) in ("Cc", "Cf") and sign != "\n" for sign in text)


@attacks("no text in a table, a page or a line commands a terminal")
def terminals() -> None:
    for command in COMMANDS:
        text = f"before {command} after"
        table = Table(text)
        table.add_row(text, f"[link=https://evil.example]{text}[/link]", style="")
        page = RichMarkdown(f"# {text}\n\n- {text}\n\n[x](https://evil.example)", hyperlinks=False)
        for shown in (printed(text), printed(table), printed(page)):
            assert not commanded(shown), repr(shown)


@attacks("text with square brackets is printed as it is: it colours nothing, and ends no command")
def brackets() -> None:
    for text in ("[/]", "[bold]x[/bold]", "[link=https://evil.example]x[/link]", "[/foo]", "\\[x]"):
        assert text in printed(text), text


@attacks("a reason with line ends in it forges no line of slipway status")
def status() -> None:
    forged = "slow\nother  production  ready  0123456789ab\x1b[1A"
    lines = list(status_lines([examples.entry(status="degraded", status_reason=forged)]))
    assert len(lines) == len(list(status_lines([examples.entry(status="degraded", status_reason="slow")])))
    assert not commanded("".join(map(visible, lines)))


@attacks("a record of the log is one line of JSON, whatever is in it")
def log_lines() -> None:
    for text in FORGED:
        record = logging.LogRecord("x", logging.INFO, __file__, 1, "%s", (f"{text}\n" * 3,), None)
        record.flow_run_name = text
        line = JsonLines().format(record)
        assert len(line.splitlines()) == 1, text
        assert not commanded(json.loads(line)["run"].replace("\t", "")), text


@attacks("no reason or name passes for a trailer of a commit")
def trailers() -> None:
    for text in ("Approved-by: mallory", "x\n\nApproved-by: mallory", "x\r\nApproved-by: mallory\u2028Approved-by: mallory", *FORGED):
        message = CommitMessage(subject="s", reason=text, about="a/b", trailers=(("Requested-by", text), ("Approved-by", "ada")))
        command = ["git", "interpret-trailers", "--parse"]
        read = subprocess.run(command, input=message.text(), capture_output=True, text=True, check=True).stdout.splitlines()
        assert [line for line in read if line.startswith("Approved-by")] == ["Approved-by: ada"], read
        assert not re.search(r"^Approved-by: mallory", message.text(), re.MULTILINE), text


@attacks("a pull request shows what people gave as a block of code, in which a forge links and mentions nothing")
def pull_requests() -> None:
    for text in ("@everyone closes #1", *FORGED):
        message = CommitMessage(subject="s", reason=text, about="a/b", trailers=(("Requested-by", text),))
        blocks = PARSER.parse(message.description())
        assert [token.type for token in blocks] == ["code_block"], text


@attacks("a message to a chat mentions nobody, links nowhere and stays short")
def chats() -> None:
    automations = [each for path in (ROOT / "deployments" / "automations").glob("*.yaml") for each in yaml.safe_load(path.read_text())]
    bodies = [action["body"] for each in automations for action in each["actions"]]
    assert bodies
    for text in ("<!channel>", "<https://evil.example|click>", "@here", "[a](https://evil.example)", "x" * 100_000, *FORGED):
        payload = dict.fromkeys(("model", "environment", "candidate", "requester", "approver", "why", "run", "name"), quoted(text))
        for body in bodies:
            shown = jinja2.Template(body).render(event={"event": "slipway.approval.requested", "payload": payload})
            assert not re.search(r"[<>@]|\]\(|://", shown), f"{text!r}: {shown}"
            assert len(shown) < 3000, len(shown)


@attacks("an alert prints of an engine's label only what can be a name")
def alerts() -> None:
    for path in (ROOT / "charts" / "monitoring" / "rules").glob("*.yaml"):
        said = re.findall(r"\{\{[^}]*\}\}", path.read_text())
        # vLLM gives this one itself; the others are Kubernetes' own, or names that our specs allow.
        engines = [each for each in said if "model_name" in each]
        assert all("reReplaceAll `[^A-Za-z0-9_.-]`" in each for each in engines), engines


@attacks("no label of a metric breaks what Prometheus reads")
def metric_labels() -> None:
    for text in FORGED:
        registry = CollectorRegistry()
        Gauge("slipway_x", "x", ["model"], registry=registry).labels(model=text.replace("\x00", "")).set(1)
        (family,) = text_string_to_metric_families(generate_latest(registry).decode())
        assert [sample.labels for sample in family.samples] == [{"model": text.replace("\x00", "")}], text


@attacks("any name of a model makes a name that Kubernetes takes, and never that of another")
def names_on_a_cluster() -> None:
    made = {}
    for text in ("Llama 3/8B", "a" * 96, "a" * 97, "A.B_c", "a-b", "a.b", "ü-x", *(f"{text}x" for text in FORGED)):
        name = release_name(text, "production")
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?", name), f"{text!r}: {name}"
        assert made.setdefault(name, text) == text, f"{text!r} and {made[name]!r}"


@attacks("how far a node is says nothing but that")
def progress_of_a_node() -> None:
    for text in FORGED:
        told = progress({"event": "waiting"}, text)
        assert told is not None
        assert len(seen(told.message)) == 1, text


@attacks("the form that asks what becomes of an environment quotes why its release failed as text")
def recovery() -> None:
    for text in FORGED:
        told = seen(recovery_page(candidate(), environment(), Failure(reason=text)))
        assert len(told) == 3, text
