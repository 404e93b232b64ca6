"""What strangers write is shown as text, and as nothing else: Markdown, HTML, terminals, logs, Git, labels."""

from __future__ import annotations

from flows.verification.page import evidence_page
from tests.attack.case import attacks
from tests.support.examples import digest, evidence, verdict


@attacks("what a model answers is text on the evidence page, not markup")
def answers_are_no_markup() -> None:
    page = evidence_page(evidence(verdict(text="<script>alert(1)</script>")), digest("evidence"))
    assert "<script" not in page, "a script of the model's"
